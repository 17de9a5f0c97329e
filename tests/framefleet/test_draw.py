from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from framefleet.draw import class_colour, draw, draw_caption
from framefleet.wire.answers import Detection

Pixels = npt.NDArray[np.uint8]
SMALL, HD, PORTRAIT = (144, 176), (1080, 1920), (1280, 720)
SIZES = pytest.mark.parametrize("size", [SMALL, HD, PORTRAIT], ids=["176x144", "1920x1080", "720x1280"])


def grey(size: tuple[int, int]) -> Pixels:
    return np.full((*size, 3), 90, np.uint8)


def face(box: tuple[float, float, float, float], label: str = "face", class_id: int = 0) -> Detection:
    return Detection(label, class_id, 0.92, box)


def relative(size: tuple[int, int], x1: float, y1: float, x2: float, y2: float) -> tuple[float, float, float, float]:
    height, width = size
    return x1 * width, y1 * height, x2 * width, y2 * height


def of_colour(frame: Pixels, class_id: int) -> npt.NDArray[np.bool_]:
    return np.all(frame == class_colour(class_id), axis=2)


@SIZES
def test_box_is_drawn_and_its_inside_left_alone(size: tuple[int, int]) -> None:
    frame = grey(size)
    x1, y1, x2, y2 = relative(size, 0.3, 0.4, 0.7, 0.8)

    draw(frame, [face((x1, y1, x2, y2))])

    colour = of_colour(frame, 0)
    middle_x, middle_y = round((x1 + x2) / 2), round((y1 + y2) / 2)
    for row, column in ((middle_y, x1), (middle_y, x2), (y2, middle_x)):
        assert colour[round(row), round(column)]
    inside = frame[round(y1) + 8 : round(y2) - 8, round(x1) + 8 : round(x2) - 8]
    assert np.all(inside == 90)


@SIZES
def test_label_is_text_on_a_filled_ground_above_the_box(size: tuple[int, int]) -> None:
    frame = grey(size)
    box = relative(size, 0.3, 0.4, 0.7, 0.8)

    draw(frame, [face(box)])

    above = frame[: round(box[1]) - 1]
    ground = of_colour(above, 0)
    text = np.all(above < 60, axis=2)
    assert np.ptp(np.flatnonzero(text.any(axis=1))) > 6, "letters are at least 7 px high"
    assert ground.sum() > 2 * text.sum() > 0


@pytest.mark.parametrize(
    "corners",
    [(-0.1, -0.1, 0.1, 0.1), (0.95, -0.1, 1.2, 0.1), (0.95, 0.95, 1.3, 1.3), (-0.2, 0.95, 0.02, 1.2), (-1, -1, 2, 2)],
    ids=["top left", "top right", "bottom right", "bottom left", "all around"],
)
@SIZES
def test_label_stays_whole_inside_the_picture(
    size: tuple[int, int], corners: tuple[float, float, float, float]
) -> None:
    expected, frame = grey(size), grey(size)
    draw(expected, [face(relative(size, 0.4, 0.4, 0.6, 0.6))])

    draw(frame, [face(relative(size, *corners))])

    assert np.all(expected < 60, axis=2).sum() == np.all(frame < 60, axis=2).sum() > 0, "all of the text is there"


def test_label_wider_than_the_picture_is_cut_but_keeps_its_score() -> None:
    name, box = "a name far too long for this picture", (20.0, 60.0, 150.0, 120.0)
    frame = grey(SMALL)

    draw(frame, [face(box, label=name)])

    cut = []
    for length in range(1, len(name)):
        expected = grey(SMALL)
        draw(expected, [face(box, label=f"{name[:length]}..")])
        cut.append(np.array_equal(frame, expected))
    assert any(cut[8:]), "as much of the name as fits, two dots, and the score"


def test_best_score_is_drawn_last_whatever_the_order() -> None:
    best = Detection("best", 1, 0.9, (40, 40, 120, 120))
    other = Detection("other", 2, 0.5, (40, 40, 120, 120))
    first, second = grey(SMALL), grey(SMALL)

    draw(first, [best, other])
    draw(second, [other, best])

    np.testing.assert_array_equal(first, second)
    assert of_colour(first, 1)[120, 80]


def test_letters_outside_ascii_do_not_fail() -> None:
    frame = grey(SMALL)

    draw(frame, [face((40, 60, 120, 120), label="Gesicht-ü 顔")])

    assert of_colour(frame, 0).any()


def test_nothing_detected_changes_nothing() -> None:
    frame = grey(SMALL)

    draw(frame, [])

    assert np.all(frame == 90)


@SIZES
def test_caption_is_in_the_bottom_left_corner(size: tuple[int, int]) -> None:
    frame = grey(size)

    draw_caption(frame, "24.8 fps")

    assert tuple(frame[-1, 0]) == (0, 0, 0)
    assert (frame > 200).any()
    assert np.all(frame[: size[0] // 2] == 90)
    assert np.all(frame[:, size[1] * 3 // 4 :] == 90)


def test_classes_have_their_own_stable_colours() -> None:
    colours = [class_colour(class_id) for class_id in range(27)]

    assert colours[0] == (126, 242, 48)
    assert len(set(colours)) == 27
    for one, next_one in pairwise(colours):
        assert max(abs(a - b) for a, b in zip(one, next_one, strict=True)) > 100
