"""Prints docs/settings.md out of the one table of settings: `python -m service.settings_page > docs/settings.md`."""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("service.settings_page")


from collections.abc import Sequence

from service.settings import SettingRow, settings_table

PAGE = """\
# Settings

<!-- Made from service/settings.py: .venv/bin/python -m service.settings_page > docs/settings.md -->

Every setting of an instance. They are read once, at its start, from environment variables; a name that starts with
`FRAMEFLEET_` and is not in this table, or a value out of range, is fatal and named in one line.

- *A fleet on this machine* takes them from the environment of `make up`: `FRAMEFLEET_CONF=0.5 make up INSTANCES=4`.
  It sets `HOST`, `PORT`, `INSTANCE`, `RELEASE` and `CPUS` itself and, unless you do, `QUARANTINE`, and `THREADS` to
  the number of CPUs that an instance gets.
- *Hosts* take them from `[settings]` in `fleet.toml`, or for one host from `[hosts.settings]`: in lower case and
  without the prefix, `conf = 0.5`. `model`, `keys` and what names an instance have places of their own in that file.
- *One instance* in the foreground: `FRAMEFLEET_CONF=0.5 .venv/bin/python -m service`. With `--help` that prints this
  list, with `--check` it only says whether the values are right.

{table}

`simulated:a_ms=2,b_ms=0.1` as the model is a stand-in accelerator that takes 2 ms and 0.1 ms a frame, for trying the
kit itself; with `,lock=FILE`, engines of any processes that name the same file are one accelerator and take turns.
"""
HEAD = "| variable | type | default | range | what |\n|---|---|---|---|---|"


def settings_page() -> str:
    """The whole page, as Markdown."""
    return PAGE.format(table="\n".join([HEAD, *map(_row, settings_table())]))


def _row(row: SettingRow) -> str:
    default = f"`{row.default}`" if row.default else "none"
    cells = (f"`{row.variable}`", row.kind, default, row.limits, row.why)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main(arguments: Sequence[str]) -> None:
    """Command line, without arguments."""
    print(settings_page(), end="")
