"""The host's part of layouts built elsewhere, against references worked out number by number."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framefleet.wire.manifest import Layout
from service.engines.rows import FrameShape, fits, frame_shape, to_candidates, to_planes
from tests.service.engines.networks import PLUGIN_ROWS

Floats = npt.NDArray[np.float32]


def random_rows(anchors: int, columns: int, frames: int = 2) -> Floats:
    random = np.random.default_rng(5)
    rows = random.random((frames, anchors, columns), np.float32)
    rows[..., :2] *= 640
    rows[..., 2:4] *= 200
    return rows


def reference(rows: Floats, *, objectness: bool) -> list[tuple[float, ...]]:
    """One frame's candidates, highest score first; among equals the earlier row."""
    found = []
    for cx, cy, w, h, *scores in rows.tolist():
        factor, *classes = scores if objectness else (1.0, *scores)
        best = max(range(len(classes)), key=lambda index: classes[index])
        found.append((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2, factor * classes[best], float(best)))
    return sorted(found, key=lambda row: -row[4])


@pytest.mark.parametrize("anchors", [1, 299, 301, 2000])
@pytest.mark.parametrize("classes", [1, 3, 80])
@pytest.mark.parametrize("layout", ["yolov5", "yolov8"])
def test_the_best_300_rows_become_candidates(layout: Layout, classes: int, anchors: int) -> None:
    rows = random_rows(anchors, (5 if layout == "yolov5" else 4) + classes)
    output = rows if layout == "yolov5" else np.ascontiguousarray(rows.transpose(0, 2, 1))
    found = to_candidates(layout, output)
    assert (found.dtype, found.shape) == (np.float32, (2, min(anchors, 300), 6))
    for frame, frame_rows in zip(found, rows, strict=True):
        wanted = reference(frame_rows, objectness=layout == "yolov5")[:300]
        np.testing.assert_allclose(frame, wanted, rtol=1e-5, atol=1e-4)


def plainly(rows: Floats, *, objectness: bool) -> Floats:
    """One frame's candidates with every row worked out and put in order; the reference for every last bit."""
    scores = rows[:, 5 if objectness else 4 :]
    highest = scores.max(axis=1) * rows[:, 4] if objectness else scores.max(axis=1)
    order = np.argsort(-highest, kind="stable")[:300]
    half = rows[order, 2:4] / 2
    corners = [rows[order, :2] - half, rows[order, :2] + half]
    return np.column_stack([*corners, highest[order], scores[order].argmax(axis=1).astype(np.float32)])


@st.composite
def network_rows(draw: st.DrawFn) -> Floats:
    """[anchors, 5 + classes]: scores spread out as a network's, all the same, on a few steps, or not numbers at all."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    anchors, classes = draw(st.sampled_from([1, 300, 1199, 1201, 3000])), draw(st.sampled_from([1, 2, 80]))
    rows = random_rows(anchors, 5 + classes, frames=1)[0]
    sharpness = draw(st.sampled_from([0, 1, 8]))
    rows[:, 4:] = random.random((anchors, 1 + classes), np.float32) ** sharpness
    if steps := draw(st.sampled_from([None, 1, 4])):
        rows[:, 4:] = np.floor(rows[:, 4:] * steps) / steps
    rows[random.random(anchors) < draw(st.sampled_from([0, 0.5, 0.95, 1])), 4] = draw(st.sampled_from([0, np.nan]))
    rows[random.random(anchors) < draw(st.sampled_from([0, 0.01, 0.95])), 5:] = draw(st.sampled_from([0, np.nan]))
    return rows


@settings(deadline=None)
@given(network_rows(), st.sampled_from([np.float32, np.float16]))
def test_the_candidates_are_those_of_all_rows_in_order(rows: Floats, element: type) -> None:
    given_rows = rows.astype(element)
    rows = given_rows.astype(np.float32)
    np.testing.assert_array_equal(to_candidates("yolov5", given_rows[None])[0], plainly(rows, objectness=True))
    without = np.ascontiguousarray(np.delete(given_rows, 4, axis=1).T)
    wanted = plainly(np.delete(rows, 4, axis=1), objectness=False)
    np.testing.assert_array_equal(to_candidates("yolov8", without[None])[0], wanted)


def test_half_precision_rows_are_worked_on_in_single_precision() -> None:
    rows = random_rows(50, 8).astype(np.float16)
    found = to_candidates("yolov5", rows)
    np.testing.assert_allclose(found[0], reference(rows[0].astype(np.float32), objectness=True), rtol=1e-5, atol=1e-4)


def test_candidates_of_a_serving_graph_are_copied_as_they_are() -> None:
    output = random_rows(300, 6)
    found = to_candidates("serving", output)
    assert (found == output).all() and not np.shares_memory(found, output)


def plugin_frame(rows: Floats, columns: int, count: float, behind: float) -> Floats:
    frame = np.full(1 + PLUGIN_ROWS * columns, behind, np.float32)
    frame[0] = count
    frame[1:].reshape(PLUGIN_ROWS, columns)[: len(rows), : rows.shape[1]] = rows
    return frame


@pytest.mark.parametrize("columns", [6, 38], ids=["v1 to v6.2", "v7 and later"])
@pytest.mark.parametrize("behind", [0.0, 1e9, np.nan, np.inf], ids=str)
@pytest.mark.parametrize("count", [0, 1, 7])
def test_only_the_counted_rows_of_the_plugin_are_read(count: int, behind: float, columns: int) -> None:
    rows = random_rows(count, 6, frames=1)[0]
    frame = plugin_frame(rows, columns, count, behind)
    found = to_candidates("tensorrtx", frame.reshape(1, -1, 1, 1))[0]
    wanted = sorted(
        [(cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2, score, kind) for cx, cy, w, h, score, kind in rows.tolist()],
        key=lambda row: -row[4],
    )
    np.testing.assert_allclose(found[:count], np.reshape(wanted, (-1, 6)), rtol=1e-5, atol=1e-4)
    assert not found[count:].any()


@pytest.mark.parametrize(
    ("count", "kept"), [(1000, 1000), (1500, 1000), (np.inf, 1000), (-3, 0), (np.nan, 0), (2.0, 2)], ids=str
)
def test_the_plugins_count_is_kept_within_its_rows(count: float, kept: int) -> None:
    rows = np.full((PLUGIN_ROWS, 6), 0.5, np.float32)
    found = to_candidates("tensorrtx", plugin_frame(rows, 6, count, 0.0)[None])[0]
    assert int((found[:, 4] > 0).sum()) == kept


@pytest.mark.parametrize("element", [np.float32, np.float16])
def test_planes_are_rgb_scaled_and_colours_first(element: type) -> None:
    frames = np.random.default_rng(2).integers(0, 256, (2, 4, 6, 3), dtype=np.uint8)
    planes = np.full((2, 3, 4, 6), 9, element)
    to_planes(frames, 1 / 255, planes)
    for frame, y, x, channel in np.ndindex(2, 4, 6, 3):
        wanted = frames[frame, y, x, 2 - channel] / 255
        assert planes[frame, channel, y, x] == pytest.approx(wanted, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize(
    ("layout", "shape", "wanted"),
    [
        ("serving", (-1, 480, 640, 3), FrameShape(480, 640, planar=False)),
        ("yolov5", (8, 3, 480, 640), FrameShape(480, 640, planar=True)),
        ("tensorrtx", (1, 3, 640, 640), FrameShape(640, 640, planar=True)),
        ("serving", (1, 3, 640, 640), None),
        ("yolov8", (1, 640, 640, 3), None),
        ("yolov5", (3, 640, 640), None),
        ("yolov5", (1, 3, -1, -1), None),
        ("yolov5", (1, 1, 640, 640), None),
    ],
)
def test_the_input_says_what_a_frame_is(layout: Layout, shape: tuple[int, ...], wanted: FrameShape | None) -> None:
    assert frame_shape(layout, shape) == wanted


@pytest.mark.parametrize(
    ("layout", "shape", "wanted"),
    [
        ("serving", (8, 300, 6), True),
        ("serving", (8, 300, 7), False),
        ("yolov5", (8, 25200, 8), True),
        ("yolov5", (8, 25200, 85), False),
        ("yolov5", (8, 3, 80, 80, 8), False),
        ("yolov8", (8, 7, 8400), True),
        ("yolov8", (8, 8400, 7), False),
        ("tensorrtx", (1, 6001, 1, 1), True),
        ("tensorrtx", (1, 38001), True),
        ("tensorrtx", (1, 6000), False),
        ("tensorrtx", (1, 5001), False),
    ],
)
def test_the_output_has_to_be_the_layouts(layout: Layout, shape: tuple[int, ...], wanted: bool) -> None:
    assert fits(layout, shape, classes=3) == wanted
