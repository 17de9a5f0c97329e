"""Says, before anything is started, what would keep an instance from starting: settings, keys, model files, device.

Flow: environment -> start_problems -> `python -m service --check`. What only opening the model shows, such as how much
memory it takes, is left to the start itself.
"""

from collections.abc import Iterator, Mapping
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
from service.settings import Settings, parse_settings
from service.surroundings import surrounding_problems

# How much is here to be looked at: `settings` alone, the `files` they name too, or `all`, the devices among them.
SCOPES = {"settings": 1, "files": 3, "all": 5}


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
