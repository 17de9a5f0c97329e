"""The pictures that are sent, and the check that a server's answer to one of them is the right box.

The simulated accelerator answers where the model's input is brightest. A white cross is painted into each picture, so
that every decoder finds the same place; a server that decodes wrongly, crosses answers or makes them up is told apart.
"""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

SIDE = 640
QUALITY = 90
# Of the picture's longer side: the width of the cross's arms, and how far off a corner may lie.
ARM, TOLERANCE = 1 / 32, 1 / 20
CENTRE = (0.62, 0.31)


class WrongAnswerError(Exception):
    """A server's answer is not the box that everybody has to find."""


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of request.

    `name`: its row; `width`, `height` of the picture in pixels; `raw`: the first server's JSON in place of a JPEG;
    `connections`: clients of the closed loop; `accelerated`: the accelerator takes time.
    """

    name: str
    width: int
    height: int
    raw: bool = False
    connections: int = 16
    accelerated: bool = True


TINY = Work("64x64 JPEG, no accelerator time", 64, 64, accelerated=False)
SMALL = Work("640x480 JPEG", 640, 480)
LARGE = Work("1920x1080 JPEG", 1920, 1080)
SMALL_RAW = Work("640x480 JSON", 640, 480, raw=True, connections=8)
LARGE_RAW = Work("1920x1080 JSON", 1920, 1080, raw=True, connections=8)
WORKS = (TINY, SMALL, LARGE, SMALL_RAW, LARGE_RAW)


def write_body(work: Work, source: npt.NDArray[np.uint8], folder: Path) -> Path:
    """Makes a work's request body from a picture (uint8 [h, w, 3], BGR); returns the file it wrote."""
    picture = crossed(source, work.width, work.height)
    if work.raw:
        image = base64.b64encode(picture.tobytes()).decode()
        body = json.dumps({"height": work.height, "width": work.width, "image": image}).encode()
    else:
        body = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
    path = folder / f"{work.width}x{work.height}{'-raw' if work.raw else ''}"
    path.write_bytes(body)
    return path


def crossed(source: npt.NDArray[np.uint8], width: int, height: int) -> npt.NDArray[np.uint8]:
    """A picture of that size, darkened a little, with a white cross whose arms reach over all of it."""
    picture = np.asarray(cv2.resize(source, (width, height), interpolation=cv2.INTER_AREA) * 0.8, np.uint8)
    arm = max(2, round(max(width, height) * ARM))
    x, y = round(CENTRE[0] * width), round(CENTRE[1] * height)
    picture[y - arm // 2 : y + arm - arm // 2] = 255
    picture[:, x - arm // 2 : x + arm - arm // 2] = 255
    return picture


def check(work: Work, answer: bytes) -> None:
    """Compares an answer with the box that has to be found.

    Raises:
        WrongAnswerError: it is another, or none.
    """
    try:
        (found,) = json.loads(answer)
        (corners,) = found.values()
        x1, y1, x2, y2 = (float(value) for value in corners[:4])
    except (ValueError, TypeError, AttributeError) as error:
        raise WrongAnswerError(f"{work.name}: {answer[:200]!r} is not one box: {error}") from None
    longer = max(work.width, work.height)
    side = longer / 8
    x, y = CENTRE[0] * work.width, CENTRE[1] * work.height
    off = max(abs(x1 - x), abs(y1 - y), abs(x2 - x - side), abs(y2 - y - side))
    if off > TOLERANCE * longer:
        raise WrongAnswerError(
            f"{work.name}: the box {corners} is {off:.0f} pixels off; expected about {x:.0f}, {y:.0f}"
        )
