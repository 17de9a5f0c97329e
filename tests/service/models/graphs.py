"""Small serving graphs that more than one test builds engines from."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

from service.models.convert.serving_graph import to_bytes, to_serving_graph
from tests.service.models.manifests import save_model
from tests.service.models.yolo import TINY, YoloSpec, build_yolo

NAMES = ("T01", "T02_1", "T02_2", "T26")


def serving(network: onnx.ModelProto, spec: YoloSpec = TINY, name: str = "tiny") -> onnx.ModelProto:
    assert spec.size is not None
    return to_serving_graph(
        network, name=name, input_size=spec.size, names=NAMES, scale=1 / 255, source_sha256="0" * 64
    )


def write_graph(path: Path, spec: YoloSpec = TINY) -> Path:
    assert spec.size is not None
    return save_model(path, to_bytes(serving(build_yolo(spec), spec)), spec.size)


class _Noise(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no annotations
    def __init__(self, size: tuple[int, int]) -> None:
        random = np.random.default_rng(1)
        self._feeds: Iterator[dict[str, Any]] = iter([{"images": random.random((1, 3, *size), np.float32)}] * 2)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)


def write_quantised(path: Path, spec: YoloSpec = TINY) -> Path:
    """A serving graph with Q/DQ nodes around its convolutions, symmetric as TensorRT needs them."""
    assert spec.size is not None
    plain, quantised = path.with_suffix(".plain"), path.with_suffix(".qdq")
    plain.write_bytes(build_yolo(spec).SerializeToString())
    quantize_static(
        plain,
        quantised,
        _Noise(spec.size),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv"],
        per_channel=True,
        extra_options={"ActivationSymmetric": True, "QuantizeBias": False},
    )
    return save_model(path, to_bytes(serving(onnx.load(quantised), spec)), spec.size)
