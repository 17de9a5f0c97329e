"""What a serving graph must give, in plain NumPy over the untouched network's output."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

Array = npt.NDArray[Any]


def run_network(model: onnx.ModelProto | bytes, feed: Array) -> Array:
    """The first output of a network for its only input."""
    data = model if isinstance(model, bytes) else model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns about constants in float16 that it cannot fold
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    result: Array = session.run(None, {session.get_inputs()[0].name: feed})[0]
    return result


def network_input(frames: Array, dtype: Any = np.float32) -> Array:
    """Frames uint8 [n, h, w, 3] BGR as a network takes them: [n, 3, h, w] RGB 0..1."""
    rgb = frames[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32)
    return np.ascontiguousarray(rgb * np.float32(1 / 255)).astype(dtype)


def every_candidate(output: Array, layout: str, *, transposed: bool = False) -> Array:
    """Candidates of every anchor, float32 [n, anchors, 6], in the network's order."""
    rows = output.astype(np.float32)
    if layout == "yolov8" and not transposed:
        rows = rows.transpose(0, 2, 1)
    centre, half = rows[..., :2], rows[..., 2:4] / 2
    scores = rows[..., 5:] * rows[..., 4:5] if layout == "yolov5" else rows[..., 4:]
    best = scores.argmax(axis=-1, keepdims=True)
    score = np.take_along_axis(scores, best, axis=-1)
    return np.concatenate((centre - half, centre + half, score, best), axis=-1)


def assert_best_candidates(
    actual: Array, expected: Array, *, count: int, box_px: float = 0.05, score: float = 1e-4
) -> None:
    """The `count` best of each frame, each a different anchor, best first.

    Rounding may swap anchors whose scores are within the tolerance, so each row may be any anchor that it equals.
    """
    assert actual.shape == (len(expected), count, 6)
    assert actual.dtype == np.float32
    for found, anchors in zip(actual, expected, strict=True):
        assert np.all(np.diff(found[:, 4]) <= 0)
        best = np.sort(anchors[:, 4])[::-1][:count]
        np.testing.assert_allclose(found[:, 4], best, rtol=0, atol=score)
        limits = np.array([box_px] * 4 + [score, 0.5])
        nearest = [(np.abs(anchors - row) / limits).max(axis=1) for row in found]
        assert max(distance.min() for distance in nearest) <= 1
        assert len({int(distance.argmin()) for distance in nearest}) == count
