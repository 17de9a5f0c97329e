"""What has to be right before torch infers anything: torch itself, the device, the model file and its manifest."""

import warnings
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framefleet.wire.manifest import Manifest
from service.engines.model_file import matching_manifest, model_sha256
from service.engines.torch.rows import LAYOUTS
from service.engines.trusted import trusted_file
from service.errors import StartError


def import_torch() -> Any:
    """The torch module.

    Raises:
        StartError: it is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise StartError(
            f"FRAMEFLEET_MODEL: .torchscript models need torch, which is not installed ({error}); run `make torch`"
        ) from error
    return torch


def choose_device(torch: Any, wished: str) -> str:
    """Turns the setting into `cpu` or `cuda`.

    Raises:
        StartError: what was asked for is not there.
    """
    if wished == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wished not in ("cpu", "cuda"):
        raise StartError(f"FRAMEFLEET_DEVICE: torch has no device {wished!r}; use auto, cpu or cuda")
    if wished == "cuda" and not torch.cuda.is_available():
        raise StartError(
            f"FRAMEFLEET_DEVICE: torch {torch.__version__} finds no CUDA device; check `nvidia-smi` and that torch is "
            "a CUDA build, or set FRAMEFLEET_DEVICE=cpu"
        )
    return wished


@dataclass(frozen=True, slots=True)
class Export:
    """A TorchScript file that is the one its manifest describes: the `file` to load, links resolved, and `manifest`."""

    file: Path
    manifest: Manifest


def checked_export(path: Path, owners: Collection[int] | None) -> Export:
    """A TorchScript file and its manifest, before torch opens it: it is a program, which may do whatever torch can.

    Args:
        path: of the file.
        owners: see `trusted_file`.

    Raises:
        StartError: one of the two is missing, they do not belong together, or anybody may write the file.
    """
    digest = model_sha256(path)
    file = trusted_file(path, "FRAMEFLEET_MODEL", owners)
    manifest = matching_manifest(path, digest)
    if manifest.layout not in LAYOUTS:
        raise StartError(
            f"FRAMEFLEET_MODEL: {path} has layout {manifest.layout!r}; torch serves {' and '.join(LAYOUTS)} exports"
        )
    return Export(file, manifest)


def load_network(torch: Any, path: Path, device: Any) -> Any:
    """Loads a TorchScript file onto a device; torch's own errors say what is wrong with it."""
    with warnings.catch_warnings():
        # torch steers new projects to torch.export; what people have are TorchScript files.
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.load(path, map_location=device).eval()
