import pytest

from framefleet.wire.errors import ModelError
from service.models.convert.layout import RowLayout, decide_layout

SQUARE = (640, 640)


@pytest.mark.parametrize(
    ("sizes", "input_size", "classes", "expected"),
    [
        pytest.param((25200, 85), SQUARE, None, RowLayout("yolov5", 1, 25200, 80), id="v5"),
        pytest.param((25200, 85), SQUARE, 80, RowLayout("yolov5", 1, 25200, 80), id="v5 named"),
        pytest.param((102000, 85), (1280, 1280), None, RowLayout("yolov5", 1, 102000, 80), id="v5 of four levels"),
        pytest.param((15120, 32), (384, 640), None, RowLayout("yolov5", 1, 15120, 27), id="v5 not square"),
        pytest.param((84, 8400), SQUARE, None, RowLayout("yolov8", 2, 8400, 80), id="v8"),
        pytest.param((84, 33600), SQUARE, None, RowLayout("yolov8", 2, 33600, 80), id="v8 of four levels"),
        pytest.param((8400, 84), SQUARE, 80, RowLayout("yolov8", 1, 8400, 80), id="v8 turned"),
        pytest.param((8400, 85), SQUARE, 80, RowLayout("yolov5", 1, 8400, 80), id="objectness, one anchor a cell"),
        pytest.param((1000, 9), SQUARE, 4, RowLayout("yolov5", 1, 1000, 4), id="unusual head, named"),
        pytest.param((6, 1000), SQUARE, 2, RowLayout("yolov8", 2, 1000, 2), id="unusual v8 head, named"),
    ],
)
def test_shape_and_names_decide(
    sizes: tuple[int, int], input_size: tuple[int, int], classes: int | None, expected: RowLayout
) -> None:
    assert decide_layout(sizes, input_size, classes) == expected


def test_one_row_a_cell_without_names_can_be_read_in_two_ways_and_says_so() -> None:
    with pytest.raises(ModelError) as raised:
        decide_layout((8400, 85), SQUARE, None)

    assert "80 classes (yolov5) or 81 classes (yolov8)" in str(raised.value)
    assert "--names" in str(raised.value)


def test_names_that_fit_no_reading_are_refused() -> None:
    with pytest.raises(ModelError, match=r"\[n, 25200, 85\] does not fit 27 class names"):
        decide_layout((25200, 85), SQUARE, 27)


def test_rows_too_short_for_a_box_and_a_score_are_refused() -> None:
    with pytest.raises(ModelError, match="has no room for a box and class scores"):
        decide_layout((4, 4), SQUARE, None)


def test_text_shows_the_axes_in_the_exports_order() -> None:
    assert RowLayout("yolov5", 1, 25200, 80).text == "[n, 25200, 85]: box, objectness, 80 class scores"
    assert RowLayout("yolov8", 2, 8400, 80).text == "[n, 84, 8400]: box, 80 class scores"
