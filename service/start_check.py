"""Says, before anything is started, what would keep an instance from starting: settings, keys and model files.

Flow: environment -> setting_problems | [Settings] -> file_problems -> `python -m service --check`. What only opening
the model shows (its device, its memory) is left to the start itself.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from service.allow import parse_allow
from service.engine import load_engine
from service.engine.model_file import checked_sha256
from service.engine.trt_file import checked_plugin, demand_gpu, read_engine_file
from service.engine.trusted import owners_by
from service.errors import StartError
from service.keys import KeyRing
from service.settings import Settings, parse_settings


def start_problems(environ: Mapping[str, str], *, files: bool) -> tuple[str, ...]:
    """Lists everything that is wrong, each with the variable that names it.

    Args:
        environ: an instance's environment.
        files: False leaves out the files that settings name: they are on another machine.
    """
    values, problems = parse_settings(environ)
    settings = Settings(**values)
    checks = (_allow, _keys, _model) if files else (_allow,)
    wrong = {text.partition(":")[0] for text in problems}
    found = [text for check in checks for text in check(settings) if text.partition(":")[0] not in wrong]
    return (*problems, *found)


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
    path = Path(settings.model)
    try:
        load_engine(settings)  # knows the suffixes, and what may stand behind `simulated:`
        if path.suffix == ".engine":
            demand_gpu(settings.device)
            owners = owners_by(settings.trust_any_path)
            checked_plugin(settings.plugin, read_engine_file(path, owners).manifest, owners)
        elif path.suffix in (".onnx", ".torchscript"):
            checked_sha256(path)
    except StartError as error:
        yield str(error)
