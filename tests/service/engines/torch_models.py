"""TorchScript models for tests; needs torch and no ONNX, which GPU machines may lack."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from framefleet.whole_file import sha256_of
from framefleet.wire.manifest import Layout, Manifest, write_manifest

NAMES = ("T01", "T02_1", "T02_2", "T26")


def save(
    path: Path, network: torch.nn.Module, size: tuple[int, int], *, layout: Layout = "yolov5", batch: int | None = None
) -> Path:
    """Traces a network as YOLOv5's exporter does, and writes its manifest."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about its own tracer
        torch.jit.trace(network.eval(), torch.zeros(batch or 1, 3, *size), check_trace=False).save(str(path))
    describe(path, size, layout=layout, batch=batch)
    return path


def describe(path: Path, size: tuple[int, int], *, layout: Layout = "yolov5", batch: int | None = None) -> None:
    write_manifest(
        path,
        Manifest(
            name=path.stem,
            sha256=sha256_of(path) or "",
            source=path.name,
            source_sha256="0" * 64,
            layout=layout,
            input=size,
            names=NAMES,
            batch=batch,
        ),
    )


def pictures(count: int, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Blocks of random colours, uint8 [n, h, w, 3]: a network sees something else in each."""
    coarse: npt.NDArray[Any] = np.random.default_rng(3).integers(0, 256, (count, size[0] // 8, size[1] // 8, 3))
    return coarse.repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8)
