"""`python -m service` runs one instance in the foreground; `--help` lists every setting.

`start_problems`: says, before anything is started, what would keep an instance from starting: settings, keys, model
files, device.

Flow: environment -> start_problems -> `python -m service --check`. What only opening the model shows, such as how much
memory it takes, is left to the start itself.
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("service.__main__")


import argparse
import os
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from service.engines import load_engine
from service.engines.model_file import checked_sha256
from service.engines.ort.providers import placements
from service.engines.torch.start import checked_export, choose_device, import_torch
from service.engines.trt.cuda_driver import probe_driver
from service.engines.trt.file import checked_plugin, demand_gpu, read_engine_file
from service.engines.trusted import owners_by
from service.errors import StartError
from service.keys import KeyRing
from service.server.allow import parse_allow
from service.settings import Settings, parse_settings, settings_table
from service.surroundings import surrounding_problems

# How much is here to be looked at: `settings` alone, the `files` they name too, or `all`, the devices among them.
SCOPES = {"settings": 1, "files": 3, "all": 5}
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


def start_problems(environ: Mapping[str, str], scope: str) -> tuple[str, ...]:
    """Lists everything that is wrong, each with the variable that names it.

    Args:
        environ: an instance's environment.
        scope: one of `SCOPES`.
    """
    values, problems = parse_settings(environ)
    settings = Settings(**values)
    checks = (_allow, _keys, _model, _device, surrounding_problems)[: SCOPES[scope]]
    said: dict[str, str] = {}
    for text in (*problems, *(text for check in checks for text in check(settings))):
        # What is wrong with a setting is said once, by whoever finds it first.
        said.setdefault(text.partition(":")[0], text)
    return tuple(said.values())


def _allow(settings: Settings) -> Iterator[str]:
    try:
        parse_allow(settings.allow)
    except StartError as error:
        yield str(error)


def _keys(settings: Settings) -> Iterator[str]:
    try:
        if settings.keys:
            KeyRing(Path(settings.keys))
    except StartError as error:
        yield str(error)


def _model(settings: Settings) -> Iterator[str]:
    path, owners = Path(settings.model), owners_by(settings.trust_any_path)
    try:
        load_engine(settings)  # knows the suffixes, and what may stand behind `simulated:`
        if path.suffix == ".engine":
            demand_gpu(settings.device)
            checked_plugin(settings.plugin, read_engine_file(path, owners).manifest, owners)
        elif path.suffix == ".torchscript":
            checked_export(path, owners)
        elif path.suffix == ".onnx":
            checked_sha256(path)
    except StartError as error:
        yield str(error)


def _device(settings: Settings) -> Iterator[str]:
    """Looks for a device that was asked for; libraries are slow to load, so `auto` and `cpu` are taken on trust."""
    suffix, asked = Path(settings.model).suffix, settings.device not in ("auto", "cpu")
    try:
        if suffix == ".engine" and settings.device != "cpu":
            probe_driver()
        elif suffix == ".torchscript" and (asked or not find_spec("torch")):
            choose_device(import_torch(), settings.device)
        elif suffix == ".onnx" and asked:
            import onnxruntime

            placements(settings.device, onnxruntime.get_available_providers())
    except StartError as error:
        yield str(error)
