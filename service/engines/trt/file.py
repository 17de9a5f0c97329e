"""An engine file and its manifest, checked before TensorRT sees a byte of it.

TensorRT answers a file of another version or GPU at length and in its own words; here each case is one line that says
what to do.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from framefleet.whole_file import sha256
from framefleet.wire.manifest import Manifest
from service.engines.model_file import matching_manifest
from service.engines.trt.cuda_context import Gpu
from service.engines.trt.header import split_header
from service.engines.trusted import trusted_file
from service.errors import StartError


@dataclass(frozen=True, slots=True)
class EngineFile:
    """A file that is the one its manifest describes: its `path`, `manifest`, and `plan`, what TensorRT reads."""

    path: Path
    manifest: Manifest
    plan: bytes


def read_engine_file(path: Path, owners: Collection[int] | None) -> EngineFile:
    """Reads an engine and its manifest.

    Args:
        path: of the engine.
        owners: see `trusted_file`.

    Raises:
        StartError: one is missing, the file is not the one the manifest was written for, or anybody may write it.
    """
    try:
        data = trusted_file(path, "FRAMEFLEET_MODEL", owners).read_bytes()
    except OSError as error:
        raise StartError(
            f"FRAMEFLEET_MODEL: {path} cannot be read ({error.strerror}); run `make engine` or name another file"
        ) from error
    return EngineFile(path, matching_manifest(path, sha256(data)), split_header(data)[1])


def demand_gpu(device: str) -> None:
    """Makes sure that the engine is not asked to run without a GPU.

    Raises:
        StartError: it is.
    """
    if device == "cpu":
        raise StartError("FRAMEFLEET_DEVICE: cpu cannot run an .engine file; unset it, or serve an .onnx model")


def checked_plugin(plugin: str, manifest: Manifest, owners: Collection[int] | None) -> Path | None:
    """The library with an engine's custom layers; None where it has none.

    Args:
        plugin: path that is set; empty takes the manifest's, which has to be the file the manifest was written for.
        manifest: the engine's.
        owners: see `trusted_file`.

    Raises:
        StartError: it cannot be read, is another one, or anybody may write it.
    """
    named = plugin or manifest.plugin
    if not named:
        return None
    try:
        library = trusted_file(Path(named), "FRAMEFLEET_PLUGIN", owners)
        if not plugin:
            _check_plugin(library, manifest)
    except OSError as error:
        raise plugin_error(named, error) from error
    return library


def plugin_error(plugin: object, error: OSError) -> StartError:
    """Says that a library cannot be loaded."""
    return StartError(
        f"FRAMEFLEET_PLUGIN: {plugin} cannot be loaded ({error}); build it for this machine, or name another"
    )


def _check_plugin(library: Path, manifest: Manifest) -> None:
    found = sha256(library.read_bytes())
    if manifest.plugin_sha256 not in ("", found):
        raise StartError(
            f"FRAMEFLEET_PLUGIN: {library} has sha256 {found}, the engine's manifest says {manifest.plugin_sha256}: it "
            "is damaged or was replaced; run `make model` again"
        )


def check_built_for(file: EngineFile, gpu: Gpu, version: str) -> None:
    """Compares what the engine was built for with what is here; an engine is of no use anywhere else.

    Args:
        file: engines that `make engine` did not build say nothing, TensorRT judges those.
        gpu: the one in this machine.
        version: TensorRT's.

    Raises:
        StartError: they differ.
    """
    built = file.manifest.built_for
    if built is None:
        return
    there = f"{built.gpu} ({built.compute}) with TensorRT {built.tensorrt}"
    here = f"{gpu.name} ({gpu.compute}) with TensorRT {version}"
    if there != here:
        raise StartError(
            f"FRAMEFLEET_MODEL: {file.path} was built for {there}, this is {here}; run `make engine` on this machine"
        )
