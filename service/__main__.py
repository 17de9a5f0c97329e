"""`python -m service` runs one instance in the foreground; `--help` lists every setting."""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("service.__main__")


import argparse
import os
import sys
import textwrap
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from service.settings import settings_table
from service.start_check import SCOPES, start_problems

EXIT_BAD_SETTINGS = 78  # EX_CONFIG, as gunicorn.conf.py
CONF = Path(__file__).with_name("server") / "gunicorn.conf.py"


def main(arguments: Sequence[str]) -> None:
    """Becomes gunicorn with this service's settings."""
    parser = argparse.ArgumentParser(
        prog="python -m service",
        description="Run one detector instance in the foreground, set up by environment variables:",
        epilog=_settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    text = "only say what would keep it from starting: in settings, in files too, or in all it needs (the default)"
    parser.add_argument("--check", nargs="?", const="all", choices=tuple(SCOPES), help=text)
    if scope := parser.parse_args(arguments).check:
        _check(scope)
        return
    if not find_spec("gunicorn"):
        raise ModuleNotFoundError(name="gunicorn")
    # It would go over what the settings say.
    environment = {name: text for name, text in os.environ.items() if name != "GUNICORN_CMD_ARGS"}
    os.execve(sys.executable, [sys.executable, "-m", "gunicorn", "-c", str(CONF)], environment)


def _check(scope: str) -> None:
    if problems := start_problems(os.environ, scope):
        print(*problems, sep="\n", file=sys.stderr)
        raise SystemExit(EXIT_BAD_SETTINGS)


def _settings_help() -> str:
    lines = []
    for row in settings_table():
        limits = f" ({row.limits})" if row.limits else ""
        lines.append(f"{row.variable}={row.default}")
        lines += textwrap.wrap(row.why + limits, 100, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)
