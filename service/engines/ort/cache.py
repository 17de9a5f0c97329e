"""Keeps graphs that ONNX Runtime has optimised, so that an instance's next start need not do it again.

An optimised graph holds steps made for one processor and one version of the runtime, so both are in its name. Whatever
is wrong with the cache, the answer is to optimise again: it never keeps an instance from starting.
"""

import hashlib
import os
import platform
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from framefleet.failure import explain_os_error
from framefleet.whole_file import sha256, sha256_of, write_whole
from service.engines.trusted import trusted_file
from service.errors import StartError

CPU_INFO = Path("/proc/cpuinfo")
_KEY_CHARACTERS = 20


@dataclass(frozen=True, slots=True)
class CachedGraph:
    """The place of one optimised graph.

    Attributes:
        path: the graph.
        seal: hash of the graph, written after it; without it, or with another one, the graph is not used.
    """

    path: Path
    seal: Path

    def is_whole(self) -> bool:
        """Whether the graph is there, all of it."""
        try:
            found = sha256_of(self.path)
        except OSError:
            return False
        return found is not None and _text(self.seal) == found

    def scratch(self) -> Path | None:
        """A file beside it to write to, or None where that is not allowed."""
        path = self.path.with_name(f".{self.path.stem}.{os.getpid()}.onnx")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        except OSError:
            return None
        return path

    def keep(self, scratch: Path) -> None:
        """Puts a written graph in place, and drops what other versions left of the same model."""
        with suppress(OSError):
            seal = sha256_of(scratch) or ""
            scratch.replace(self.path)
            write_whole(self.seal, seal.encode())
            model = self.path.name[: -_KEY_CHARACTERS - len(".onnx")]
            for old in self.path.parent.glob(f"{model}*.onnx"):
                if len(old.name) == len(self.path.name) and old != self.path:
                    old.unlink(missing_ok=True)
                    old.with_suffix(".seal").unlink(missing_ok=True)


def cached_graph(folder: Path, model: Path, model_sha256: str, version: str, processor: str) -> CachedGraph:
    """Where the optimised graph of a model is, or will be.

    Args:
        folder: the cache.
        model: the model's file.
        model_sha256: its hash.
        version: of ONNX Runtime.
        processor: see `processor_name`.
    """
    key = sha256("\0".join((model_sha256, version, processor)).encode())[:_KEY_CHARACTERS]
    path = folder / "graphs" / f"{model.stem}-{key}.onnx"
    return CachedGraph(path, path.with_suffix(".seal"))


def processor_name(cpu_info: Path = CPU_INFO) -> str:
    """What graphs are optimised for: the architecture, and the instruction sets that the processor has."""
    lines = (_text(cpu_info) or "").splitlines()
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {hashlib.sha256(flags.encode()).hexdigest()}"


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def demand_own_cache(folder: Path, owners: Collection[int] | None) -> None:
    """Makes sure that nobody else can put an engine into the cache: those that TensorRT's provider keeps run as code.

    Args:
        folder: that of the engines; made where it is not there.
        owners: see `trusted_file`. This process's own user may write there as well.

    Raises:
        StartError: somebody else could, or the folder cannot be made.
    """
    if owners is None:
        return
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        trusted_file(folder, "FRAMEFLEET_CACHE", {*owners, os.geteuid()})
    except OSError as error:
        raise StartError(f"FRAMEFLEET_CACHE: {explain_os_error(error)}") from error
