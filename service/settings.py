"""Every setting of one instance, declared once: validation, help and docs/settings.md come from here.

Settings are read from `FRAMEFLEET_*` environment variables at start, frozen, and passed down.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any

from framefleet.machine.cpus import parse_cpus
from service.errors import StartError
from service.host import parse_host

PREFIX = "FRAMEFLEET_"
# Both stand in the heads of answers, in logs and in names of files.
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PLAIN_NAME_FIX = "use letters, digits and . _ - (64 at most)"

MODES: dict[str, dict[str, float]] = {
    # Each frame goes as soon as the engine is free; a short queue sheds early.
    "latency": {"max_wait_ms": 0.0, "queue_size": 32},
    # An idle engine waits a moment for company, and a long queue keeps batches full.
    "throughput": {"max_wait_ms": 5.0, "queue_size": 128},
}


def _plain_name(text: str) -> str:
    if not PLAIN_NAME.fullmatch(text):
        raise ValueError(f"{text!r} is no plain name; {PLAIN_NAME_FIX}")
    return text


def _cpu_list(text: str) -> str:
    parse_cpus(text)
    return text


def _setting(
    default: Any,
    why: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    parse: Callable[[str], str] = str,
) -> Any:
    return field(default=default, metadata={"why": why, "low": low, "high": high, "choices": choices, "parse": parse})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One instance's settings; each attribute `name` is read from `FRAMEFLEET_NAME`."""

    model: str = _setting(
        "var/models/centerface-320.onnx",
        "model file, its suffix picks the engine; `simulated:` is a stand-in accelerator",
    )
    host: str = _setting("127.0.0.1", "address to listen on; keep it on loopback behind nginx", parse=parse_host)
    port: int = _setting(8101, "port to listen on, once the model answers", low=1, high=65535)
    instance: str = _setting("local", "this instance's name in answers, logs and status", parse=_plain_name)
    release: str = _setting("dev", "release id shown by /readyz, so that a rollout can wait for it", parse=_plain_name)
    mode: str = _setting(
        "latency",
        "`throughput` changes two defaults: max_wait_ms to 5 and queue_size to 128",
        choices=tuple(MODES),
    )
    device: str = _setting(
        "auto",
        "where the model runs; auto takes a GPU where the engine finds one, any other is never replaced",
        choices=("auto", "cpu", "cuda", "tensorrt"),
    )
    precision: str = _setting(
        "auto",
        "arithmetic of .torchscript models; auto is fp16 on CUDA and fp32 on the CPU",
        choices=("auto", "fp32", "fp16"),
    )
    cache: str = _setting("var/cache", "folder for what engines work out once, such as optimised graphs")
    plugin: str = _setting("", "shared library with an .engine file's custom layers; empty takes its manifest's")
    trust_any_path: int = _setting(
        0,
        "1 loads engines, plugins and .torchscript files whoever may write them; else only who may write this code may",
        low=0,
        high=1,
    )
    threads: int = _setting(0, "CPU threads of ONNX Runtime, one for each CPU at most; 0 is that many", low=0, high=256)
    cpus: str = _setting(
        "", "CPUs to run on, as taskset takes them, such as 0-3,8; empty takes all there are", parse=_cpu_list
    )
    max_batch: int = _setting(0, "frames inferred together at most; 0 takes what the engine prefers", low=0, high=128)
    max_wait_ms: float = _setting(0.0, "ms an idle engine waits for a fuller batch; 0 never waits", low=0, high=1000)
    queue_size: int = _setting(
        32,
        "requests of a lone client in the instance at once, of several a quarter more; others are refused with 503",
        low=1,
        high=4096,
    )
    watchdog_s: float = _setting(
        10.0, "s one inference may take; then the process is replaced (exit 71)", low=0.1, high=3600
    )
    self_test_s: float = _setting(
        60.0, "s an engine is idle until it is tested again; 0 never tests", low=0, high=86_400
    )
    deadline_ms: float = _setting(
        5000.0, "ms until an unanswered request is dropped; X-Timeout-Ms shortens it", low=1, high=600_000
    )
    max_body_bytes: int = _setting(64 * 2**20, "bytes of a request body at most", low=1024, high=2**30)
    max_pixels: int = _setting(40_000_000, "pixels of a picture at most, read from its header", low=1, high=500_000_000)
    max_side: int = _setting(16_384, "pixels along one side of a picture at most", low=1, high=65_500)
    max_memory_mb: int = _setting(
        0,
        "MiB held at which the instance is drained and replaced, exit 72; 0 never",
        low=0,
        high=2**20,
    )
    memory_growth_mb: int = _setting(
        1024,
        "MiB above what the instance held when it began to listen, at which it is replaced likewise; 0 never",
        low=0,
        high=2**20,
    )
    max_files: int = _setting(16, "pictures in one multipart form at most", low=1, high=256)
    jpeg_scaling: int = _setting(
        0, "1 decodes JPEGs scaled down towards the model's input: faster, boxes move a little", low=0, high=1
    )
    allow: str = _setting("", "addresses and networks that may connect, commas between; empty lets all connect")
    keys: str = _setting("", "file of API keys (`make key`); empty lets everybody in")
    quarantine: str = _setting(
        "",
        "folder that a host's instances share: pictures in work at 3 deaths are refused (422), and one instance at a "
        "time drains for its memory; empty does neither",
    )
    quarantine_s: float = _setting(
        3600.0, "s after the last of those deaths until such a picture is tried again", low=1, high=2_592_000
    )
    conf: float = _setting(0.35, "score above which /v1/detect reports a box", low=0, high=1)
    iou: float = _setting(0.4, "IoU above which NMS drops the lower score of two boxes", low=0, high=1)
    max_det: int = _setting(300, "boxes of one answer at most", low=1, high=300)
    log_every: int = _setting(
        1000, "every so many requests inside 2xx one is logged; 0 logs none of them", low=0, high=10**9
    )
    graceful_timeout_s: int = _setting(30, "s that requests in flight may take after SIGTERM", low=1, high=600)

    @property
    def worker_threads(self) -> int:
        """Request threads: the admission limit, its spare places, and four so that health answers never wait."""
        return self.queue_size + self.queue_size // 4 + 4


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One row of the settings table: `variable`, `kind` (str, int, float), `default`, `limits`, `why`."""

    variable: str
    kind: str
    default: str
    limits: str
    why: str


def settings_table() -> list[SettingRow]:
    """The table of all settings, in declaration order."""
    return [
        SettingRow(PREFIX + f.name.upper(), _kind(f).__name__, str(f.default), _limits(f), f.metadata["why"])
        for f in fields(Settings)
    ]


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Reads and validates the settings.

    Args:
        environ: environment variables; names that do not start with `FRAMEFLEET_` are ignored.

    Raises:
        StartError: names every unknown variable and every value that is not within its limits.
    """
    values, problems = parse_settings(environ)
    if problems:
        raise StartError("; ".join(problems))
    return Settings(**values)


def parse_settings(environ: Mapping[str, str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Reads the settings as far as they are right.

    Args:
        environ: as `read_settings`.

    Returns:
        The values by the names of `Settings`, and what is wrong with the others, each with its variable.
    """
    known = {PREFIX + f.name.upper(): f for f in fields(Settings)}
    values: dict[str, Any] = {}
    problems: list[str] = []
    for variable, text in environ.items():
        if not variable.startswith(PREFIX):
            continue
        if variable not in known:
            problems.append(_unknown(variable, known))
            continue
        setting = known[variable]
        try:
            values[setting.name] = _parse(setting, text)
        except ValueError as error:
            problems.append(f"{variable}: {error}")
    return {**MODES[values.get("mode", "latency")], **values}, tuple(sorted(problems))


def _parse(setting: "Field[Any]", text: str) -> Any:
    kind = _kind(setting)
    if kind is str:
        if not text.strip() and setting.default:  # an empty default means none
            raise ValueError(f"is empty; unset it for the default {setting.default!r}")
        if text != text.strip() or not text.isprintable():  # such as the end of a line that another system wrote
            raise ValueError(f"{text!r} has blanks at an end, or characters that cannot be printed; take them out")
        if setting.metadata["choices"] and text not in setting.metadata["choices"]:
            raise ValueError(f"{text!r} is not one of {_limits(setting)}")
        return setting.metadata["parse"](text)
    try:
        value = kind(text.replace("_", "x"))  # Python alone takes 1_000
    except ValueError:
        raise ValueError(f"{text!r} is not {'a whole number' if kind is int else 'a number'}") from None
    low, high = setting.metadata["low"], setting.metadata["high"]
    if not low <= value <= high:  # also refuses nan
        raise ValueError(f"{text} is outside {_limits(setting)}")
    return value


def _kind(setting: "Field[Any]") -> type:
    return type(setting.default)


def _limits(setting: "Field[Any]") -> str:
    low, high = setting.metadata["low"], setting.metadata["high"]
    return ", ".join(setting.metadata["choices"]) if low is None else f"{low} to {high}"


def _unknown(variable: str, known: Mapping[str, object]) -> str:
    # Without the prefix they all share, which would make every name look like every other.
    near = difflib.get_close_matches(variable.removeprefix(PREFIX), [name.removeprefix(PREFIX) for name in known], n=1)
    hint = f"did you mean {PREFIX}{near[0]}?" if near else "see the settings table in docs/settings.md"
    return f"{variable}: no such setting; {hint}"
