"""The torch engine on CUDA: the CPU's boxes, every batch size, and what its failures cost."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")

import torch

from service.engines.torch.engine import TorchEngine
from service.errors import OutOfMemory
from service.models.build.gate import compare
from service.pipeline.boxes import nms
from tests.gpu.faults import exit_code_after
from tests.gpu.faulty_torch import DEVICE_ASSERT, ILLEGAL_ADDRESS
from tests.service.engines.stack import Side, compare_instances
from tests.service.engines.torch_models import pictures, save
from tests.service.engines.yolo_torch import Yolo, randomise

pytestmark = pytest.mark.gpu
SIZE = (320, 320)
FAULT_SIZE = (64, 96)
Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YOLOv5n-shaped network, traced on the CPU."""
    path = tmp_path_factory.mktemp("torch") / "yolov5n.torchscript"
    return save(path, randomise(Yolo(0.25, classes=4, size=SIZE)), SIZE)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "tiny.torchscript"
    return save(path, randomise(Yolo(0.125, classes=4, size=FAULT_SIZE)), FAULT_SIZE)


def on(device: str, script: Path, precision: str = "fp32", max_batch: int = 8) -> TorchEngine:
    return TorchEngine(str(script), device=device, precision=precision, threads=0, max_batch=max_batch)


def test_the_whole_stack_gives_the_cpus_boxes(
    script: Path, free_port: Callable[[], int], tmp_path: Path, record_property: Record
) -> None:
    cuda = Side(script, {"device": "cuda", "precision": "fp32", "max_batch": 4})
    cpu = Side(script, {"device": "cpu", "precision": "fp32"})
    difference = compare_instances(cuda, cpu, free_port, tmp_path, 16)
    record_property("boxes", difference.boxes)
    record_property("worst_px", round(difference.worst_px, 4))
    record_property("worst_score", round(difference.worst_score, 5))
    assert difference.engines[0]["device"].startswith("cuda")
    assert difference.boxes > 20
    assert difference.worst_px <= 1 and difference.worst_score <= 0.01


def test_half_precision_agrees_with_the_cpu(script: Path, record_property: Record) -> None:
    frames = pictures(16, SIZE)
    with on("cpu", script, max_batch=1) as cpu, on("cuda", script, "fp16") as cuda:
        expected = [cpu.infer(frame[None])[0] for frame in frames]
        found = [candidates for first in range(0, 16, 8) for candidates in cuda.infer(frames[first : first + 8])]
    agreement = compare(expected, found)
    record_property("share", round(agreement.share, 4))
    record_property("worst_px", round(agreement.worst_shift_px, 3))
    record_property("worst_score", round(agreement.worst_score, 4))
    assert agreement.share > 0.75, agreement  # a random network amplifies rounding more than a trained one


def test_every_batch_size_gives_what_single_frames_give(script: Path) -> None:
    frames = pictures(8, SIZE)
    with on("cuda", script) as engine:
        singles = [engine.infer(frame[None])[0] for frame in frames]
        for size in range(1, 9):
            agreement = compare(singles[:size], engine.infer(frames[:size]))
            assert agreement.share == 1 and agreement.worst_shift_px < 0.5, f"batch {size}: {agreement}"


def test_lack_of_memory_costs_one_batch_only(script: Path) -> None:
    frames = pictures(8, SIZE)
    with on("cuda", script) as engine:
        expected = engine.infer(frames)
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(1e-6)
        try:
            with pytest.raises(OutOfMemory):
                engine.infer(frames)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        np.testing.assert_allclose(engine.infer(frames)[..., 4], expected[..., 4], rtol=0, atol=1e-3)


def test_the_networks_memory_is_given_back(script: Path) -> None:
    with on("cuda", script) as engine:
        engine.infer(pictures(8, SIZE))
        while_open = torch.cuda.memory_allocated()
    assert torch.cuda.memory_allocated() < while_open - script.stat().st_size / 2


@pytest.mark.parametrize("fault", [DEVICE_ASSERT, ILLEGAL_ADDRESS], ids=["device assert", "illegal address"])
def test_a_lost_device_ends_the_process_with_70(
    fault: int, tiny: Path, free_port: Callable[[], int], tmp_path: Path, record_property: Record
) -> None:
    if fault == ILLEGAL_ADDRESS and not hasattr(torch.cuda, "_compile_kernel"):
        pytest.skip("this torch cannot compile a kernel")
    code, log = exit_code_after(fault, tiny, "cuda", free_port, tmp_path)
    record_property("exit_code", code)
    assert code == 70
    assert "; the device is lost" in log, log[-3000:]


def test_torchvisions_nms_keeps_what_ours_keeps() -> None:
    ops = pytest.importorskip("torchvision.ops", exc_type=Exception, reason="torchvision does not import")
    random = np.random.default_rng(8)
    corners = random.random((300, 4), np.float32) * 200
    corners[:, 2:] += corners[:, :2]
    scores = -np.sort(-random.permutation(300).astype(np.float32))
    classes = random.integers(0, 3, 300).astype(np.float32)
    rows = np.concatenate((corners, scores[:, None], classes[:, None]), axis=1)
    tensors = [torch.from_numpy(array).cuda() for array in (corners, scores, classes.astype(np.int64))]
    for iou in (0.3, 0.45, 0.7):
        kept = ops.batched_nms(*tensors, iou).cpu().numpy()
        np.testing.assert_array_equal(kept, nms(rows, iou, agnostic=False))
