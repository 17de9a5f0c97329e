"""What has to be right before torch infers anything: torch itself, the device, the model file and its manifest."""

import warnings
from pathlib import Path
from typing import Any

from service.engine.model_file import matching_manifest, model_sha256
from service.engine.torch_rows import LAYOUTS
from service.errors import StartError
from service.model.manifest import Manifest


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


def checked_manifest(path: Path) -> Manifest:
    """The manifest of a model file that is what the manifest says.

    Raises:
        StartError: one of the two is missing, or they do not belong together.
    """
    manifest = matching_manifest(path, model_sha256(path))
    if manifest.layout not in LAYOUTS:
        raise StartError(
            f"FRAMEFLEET_MODEL: {path} has layout {manifest.layout!r}; torch serves {' and '.join(LAYOUTS)} exports"
        )
    return manifest


def load_network(torch: Any, path: Path, device: Any) -> Any:
    """Loads a TorchScript file onto a device; torch's own errors say what is wrong with it."""
    with warnings.catch_warnings():
        # torch steers new projects to torch.export; what people have are TorchScript files.
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.load(path, map_location=device).eval()
