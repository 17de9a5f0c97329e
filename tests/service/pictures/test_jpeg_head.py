"""A JPEG that is decoded as it came is taken or refused as one that was taken apart, and is the same pixels."""

import io
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from service.errors import MalformedBody, RequestError
from service.pictures.image import ImageLimits, Pixels
from service.pictures.jpeg import (
    JPEG_MAGIC,
    MAX_HEAD_BYTES,
    MAX_HEAD_SEGMENTS,
    MAX_JPEG_SEGMENTS,
    MAX_TABLE_BYTES,
    usual_jpeg,
)
from service.pictures.jpeg_pixels import decode_jpeg, decode_taken_apart
from tests.service.flat_jpeg import EOI, SOI, flat_jpeg, frame, scan_head, segment

LIMITS = ImageLimits(max_pixels=1_000_000, max_side=2_000)
SHRINKING = replace(LIMITS, shrink_to=(40, 40))
CASES = sorted(Path("tests/cases").glob("*.jpg"))
SOS = b"\xff\xda"


def drawing(mode: str = "RGB", **options: object) -> bytes:
    noise = np.random.default_rng(4).integers(0, 256, (9, 13, 3), np.uint8)
    file = io.BytesIO()
    picture = PIL.Image.fromarray(noise).resize((130, 90), PIL.Image.Resampling.BICUBIC).convert(mode)
    picture.save(file, "JPEG", **options)  # type: ignore[arg-type]
    return file.getvalue()


PLAIN = drawing()
PICTURES = [
    *[drawing(subsampling=name, quality=q) for name in ("4:4:4", "4:2:2", "4:2:0") for q in (20, 75, 97)],
    *[drawing("L"), drawing("CMYK"), drawing(progressive=True), drawing(optimize=True)],
    *[drawing(restart_marker_rows=1), drawing(restart_marker_blocks=1), drawing(exif=b"Exif\0\0" + PLAIN[:600])],
    drawing(icc_profile=bytes(70_000)),
]
PIECES = [
    *[SOS, SOI, EOI, b"\xff", b"\xff\xff", b"\0", b"\xff\0", b"\xff\x01", b"\xff\xd0", b"\xff\xd3", bytes(30)],
    *[segment(0xFE, b"note"), segment(0xE2, b"ICC_PROFILE\0\0\0"), segment(0xE2, b"MPF\0" + PLAIN), b"\xff\xe5\0\1"],
    *[segment(0xDC, b"\0\x25"), segment(0xDD, b"\0\x05"), segment(0xDB, bytes(65)), segment(0xC4, bytes(17))],
    *[segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform])) for transform in (0, 1, 2, 9)],
    *[segment(0xE0, b"JFIF\0\x07\1" + bytes(7)), segment(0xE1, b"Exif\0\0" + PLAIN), segment(0xC8, b""), PLAIN],
    *[frame(130, 90, [(1, 1)]), PLAIN[PLAIN.index(SOS) :], segment(0xCC, b"\0\1"), b"\xff\xf7\0\2"],
]


def outcome(body: bytes | memoryview, limits: ImageLimits, *, apart: bool = False) -> tuple[object, ...]:
    """What became of it, in memory that holds something else; and what was claimed."""
    dice, claimed = random.Random(len(body)), list[tuple[int, int]]()

    def memory(height: int, width: int) -> Pixels:
        return np.full((height, width, 3), dice.randrange(256), np.uint8)

    limits = replace(limits, claim=lambda pixels, size: claimed.append((pixels, size)), pixels_memory=memory)
    try:
        decoded = (decode_taken_apart if apart else decode_jpeg)(body, limits)
    except RequestError as error:
        return type(error), str(error), claimed
    return decoded.pixels.shape, decoded.pixels.tobytes(), decoded.width, decoded.height, claimed


def mutated(dice: random.Random) -> bytes:
    body = bytearray(dice.choice(PICTURES))
    data = body.index(SOS)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        at = dice.choice((dice.randrange(2, data), dice.randrange(data, len(body)), len(body) - 2, len(body)))
        match dice.randrange(6):
            case 0:
                body[at:at] = dice.choice(PIECES)
            case 1:
                body[at : at + 1] = dice.randbytes(1)
            case 2:
                del body[at : at + dice.choice((1, 2, 9, 200))]
            case 3:
                del body[at:]
            case 4:
                body[at:at] = body[data:] if at > data else b"\xff" * dice.randrange(9)
            case _:
                at = dice.choice([place for place in range(2, len(body)) if body[place - 1] == 0xFF] or [at])
                body[at : at + 1] = dice.choice((b"\0", b"\xd9", b"\xda", b"\xd0", b"\xc4", b"\xe2", dice.randbytes(1)))
        if len(body) < data + 4:
            break
    return bytes(body) if body.startswith(JPEG_MAGIC) else JPEG_MAGIC + bytes(body)


@pytest.mark.parametrize("limits", [LIMITS, SHRINKING], ids=["whole", "scaled"])
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_every_case_becomes_the_same(path: Path, limits: ImageLimits) -> None:
    body = path.read_bytes().lstrip()
    assert outcome(body, limits) == outcome(body, limits, apart=True)


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_changed_becomes_the_same(seed: int) -> None:
    dice, usual, taken = random.Random(seed), 0, 0
    for number in range(250):
        body, limits = mutated(dice), dice.choice((LIMITS, SHRINKING))
        became = outcome(memoryview(body) if number % 2 else body, limits)
        assert became == outcome(body, limits, apart=True), body
        try:
            usual += usual_jpeg(body) is not None
        except MalformedBody:
            continue
        taken += isinstance(became[1], bytes)
    assert usual > 50
    assert taken > 50


@pytest.mark.parametrize("sides", [(1, 1), (7, 130), (81, 80), (79, 41), (160, 161), (333, 50), (640, 480)])
@pytest.mark.parametrize("into", [(40, 40), (100, 33), (320, 320), (1, 500)])
def test_scaled_pixels_fit_their_memory(sides: tuple[int, int], into: tuple[int, int]) -> None:
    asked = list[tuple[int, int]]()

    def memory(height: int, width: int) -> Pixels:
        asked.append((height, width))
        return np.empty((height, width, 3), np.uint8)

    pixels = decode_jpeg(flat_jpeg([(1, 1)], *sides), replace(LIMITS, shrink_to=into, pixels_memory=memory)).pixels
    assert asked == [pixels.shape[:2]]


def test_pixels_are_where_they_were_asked_to_be() -> None:
    memory = np.zeros((90, 130, 3), np.uint8)
    pixels = decode_jpeg(PLAIN, replace(LIMITS, pixels_memory=lambda height, width: memory)).pixels
    assert np.shares_memory(pixels, memory)


def test_of_bodies_no_view_is_left() -> None:
    for body in (bytearray(PLAIN), bytearray(PLAIN[:-9] + EOI), bytearray(drawing(progressive=True))):
        outcome(memoryview(body), LIMITS)
        body.append(0)  # which fails while there is a view


@pytest.mark.parametrize(
    "body",
    [
        PLAIN,
        drawing("L"),
        drawing(restart_marker_rows=1),
        drawing(exif=b"Exif\0\0" + PLAIN[:600]),
        PLAIN + drawing(progressive=True),
        flat_jpeg([(2, 2), (1, 1), (1, 1)], restart=2),
    ],
    ids=["plain", "grey", "restarts", "with a thumbnail", "a picture behind it", "restarts of a few blocks"],
)
def test_usual_files_are_known(body: bytes) -> None:
    usual = usual_jpeg(body)
    assert usual
    assert body.startswith(bytes(usual.file)) and usual.file[-2:] == EOI
    decoded = decode_jpeg(body, LIMITS)
    assert (usual.width, usual.height) == (decoded.width, decoded.height)


@pytest.mark.parametrize(
    "body",
    [
        drawing("CMYK"),
        drawing(progressive=True),
        flat_jpeg([(4, 1), (1, 1), (1, 1)]),
        PLAIN[:-2] + segment(0xFE, b"") + EOI,
        PLAIN[:2] + b"\0" + PLAIN[2:],
        PLAIN[:2] + segment(0xFE, b"") * MAX_HEAD_SEGMENTS + PLAIN[2:],
        PLAIN[:2] + segment(0xE1, bytes(65_000)) * (MAX_HEAD_BYTES // 65_000 + 1) + PLAIN[2:],
        PLAIN[: PLAIN.index(SOS) + 5],
        SOI + scan_head([0]) + PLAIN,
        SOI,
    ],
    ids=[
        *["CMYK", "progressive", "4:1:1", "a comment behind the data", "bytes before a segment", "many segments"],
        *["a long head", "ends in its head", "no frame", "nothing"],
    ],
)
def test_unusual_files_are_not(body: bytes) -> None:
    assert usual_jpeg(body) is None


def test_its_head_is_no_longer_than_is_read_otherwise() -> None:
    assert MAX_HEAD_SEGMENTS <= MAX_JPEG_SEGMENTS
    assert MAX_HEAD_BYTES <= MAX_TABLE_BYTES
