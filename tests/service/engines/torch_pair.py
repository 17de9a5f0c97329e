"""One network in two files with the same weights: for torch, and for ONNX Runtime."""

from pathlib import Path

from service.models.convert.serving_graph import to_bytes
from tests.service.engines.torch_models import save
from tests.service.engines.yolo_torch import Yolo, load
from tests.service.models.graphs import serving
from tests.service.models.manifests import save_model
from tests.service.models.yolo import TINY, YoloSpec, build_yolo, yolo_weights


def save_pair(folder: Path, spec: YoloSpec = TINY) -> tuple[Path, Path]:
    """Writes a `.torchscript` file and a serving graph."""
    assert spec.size is not None
    weights = yolo_weights(spec)
    network = load(Yolo(spec.width, spec.depth, spec.classes, spec.size), weights)
    script = save(folder / "torch.torchscript", network, spec.size)
    return script, save_model(
        folder / "onnx.onnx", to_bytes(serving(build_yolo(spec, weights), spec, "onnx")), spec.size
    )
