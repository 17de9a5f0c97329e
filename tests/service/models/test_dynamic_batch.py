from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from service.models.convert.serving_graph import free_batch, prepared
from service.models.convert.source import inspect
from tests.service.models.reference import run_network
from tests.service.models.yolo import TINY, YoloSpec, build_yolo

SIZE = (64, 96)


def freed(network: onnx.ModelProto) -> onnx.ModelProto | None:
    ready = prepared(network, SIZE)
    return free_batch(ready, inspect(ready, TINY.classes))


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(replace(TINY, batch=1), id="v5 of 1"),
        pytest.param(replace(TINY, batch=4), id="v5 of 4"),
        pytest.param(replace(TINY, batch=1, layout="yolov8"), id="v8 of 1"),
        pytest.param(replace(TINY, batch=1, half=True), id="half precision"),
    ],
)
def test_freed_network_answers_every_frame_of_any_batch_as_the_untouched_one(spec: YoloSpec) -> None:
    network = build_yolo(spec)
    element = np.float16 if spec.half else np.float32
    pictures = np.random.default_rng(1).random((5, 3, *SIZE), np.float32).astype(element)
    batch = spec.batch or 1
    alone = [run_network(network, np.repeat(picture[None], batch, axis=0))[:1] for picture in pictures]

    free = freed(network)

    assert free is not None
    tolerance = 0.5 if spec.half else 1e-2
    np.testing.assert_allclose(run_network(free, pictures), np.concatenate(alone), rtol=1e-2, atol=tolerance)


def test_callers_network_does_not_change() -> None:
    ready = prepared(build_yolo(replace(TINY, batch=1)), SIZE)
    before = ready.SerializeToString(deterministic=True)

    free_batch(ready, inspect(ready, TINY.classes))

    assert ready.SerializeToString(deterministic=True) == before


def _mix_frames(network: onnx.ModelProto) -> None:
    """Adds the mean over the batch: of one frame it is the frame itself, of two it is both."""
    rows = network.graph.node[-1]
    rows.output[0] = "own"
    mean = helper.make_node("ReduceMean", ["own"], ["mean"], axes=[0], keepdims=1)
    network.graph.node.extend([mean, helper.make_node("Add", ["own", "mean"], ["output0"])])


def _split_the_batch(network: onnx.ModelProto) -> None:
    """Says the batch where it cannot be rewritten: as the length of the parts of a Split."""
    rows = network.graph.node[-1]
    rows.output[0] = "own"
    network.graph.initializer.append(numpy_helper.from_array(np.array([1]), "parts"))
    network.graph.node.append(helper.make_node("Split", ["own", "parts"], ["output0"], axis=0))


@pytest.mark.parametrize("spoil", [_mix_frames, _split_the_batch])
def test_network_that_cannot_be_proved_stays_as_it_is(spoil: object) -> None:
    network = build_yolo(replace(TINY, batch=1))
    assert callable(spoil)
    spoil(network)

    assert freed(network) is None
