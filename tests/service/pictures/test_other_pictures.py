"""WebP and BMP become pixels behind the same limits as JPEG and PNG; other kinds are refused by their names."""

import base64
import io
import random
import struct

import cv2
import numpy as np
import PIL.Image
import pytest

from service.errors import ImageTooLarge, MalformedBody, RequestError, UnsupportedBody
from service.pictures.body import decode
from service.pictures.image import ImageLimits
from service.pictures.kinds import KINDS
from service.pictures.picture import is_picture

LIMITS = ImageLimits(max_pixels=40_000_000, max_side=16_384)
RNG = np.random.default_rng(3)
PICTURE = np.ascontiguousarray(cv2.resize(RNG.integers(0, 256, (6, 8, 3), np.uint8), (61, 43)))


def saved(kind: str, picture: PIL.Image.Image | None = None, **options: object) -> bytes:
    file = io.BytesIO()
    (picture or PIL.Image.fromarray(PICTURE[..., ::-1])).save(file, kind, **options)  # type: ignore[arg-type]
    return file.getvalue()


def as_others_see_it(body: bytes) -> np.ndarray:
    return np.asarray(PIL.Image.open(io.BytesIO(body)).convert("RGB"))[..., ::-1]


def said_of(body: bytes) -> str:
    with pytest.raises(RequestError) as caught:
        decode(body, LIMITS)
    return f"{type(caught.value).__name__}: {caught.value}"


MODES = ["RGB", "L", "P", "1", "RGBA"]


@pytest.mark.parametrize("mode", MODES)
def test_a_bmp_is_decoded_exactly(mode: str) -> None:
    body = saved("BMP", PIL.Image.fromarray(PICTURE[..., ::-1]).convert(mode))
    assert np.array_equal(decode(body, LIMITS).pixels, as_others_see_it(body))


@pytest.mark.parametrize("quality", [10, 80, 100])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_a_webp_is_decoded_as_others_do(quality: int, mode: str) -> None:
    body = saved("WEBP", PIL.Image.fromarray(PICTURE[..., ::-1]).convert(mode), quality=quality)
    assert np.abs(decode(body, LIMITS).pixels.astype(int) - as_others_see_it(body)).max() <= 1


def test_of_an_animated_webp_the_first_picture_is_taken() -> None:
    later = PIL.Image.new("RGB", (61, 43), (0, 255, 0))
    body = saved("WEBP", save_all=True, append_images=[later, later], quality=90)
    assert b"ANMF" in body
    assert np.abs(decode(body, LIMITS).pixels.astype(int) - PICTURE).mean() < 6


def test_what_stands_around_a_webps_picture_plays_no_part() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    plain, dressed = saved("WEBP", quality=90), saved("WEBP", quality=90, exif=exif, icc_profile=b"x" * 300)
    assert len(dressed) > len(plain) + 300
    for body in (dressed, plain + bytes(99)):
        assert np.array_equal(decode(body, LIMITS).pixels, decode(plain, LIMITS).pixels)


def bmp(depth: int, rows: bytes, height: int, *, palette: bytes = b"", masks: bytes = b"", offset: int = 0) -> bytes:
    """A BMP 2 pixels wide."""
    header = struct.pack("<IiiHHIIiiII", 40, 2, height, 1, depth, 3 if masks else 0, 0, 0, 0, len(palette) // 4, 0)
    start = offset or 54 + len(masks) + len(palette)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, start) + header + masks + palette + rows


RED, GREEN, BLUE, WHITE = (0, 0, 255), (0, 255, 0), (255, 0, 0), (255, 255, 255)
PALETTE = bytes([*RED, 0, *GREEN, 0, *BLUE, 0, *WHITE, 0])


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        (bmp(16, b"\x00\x7c\xe0\x03\x1f\x00\xff\x7f", 2), [[BLUE, WHITE], [RED, GREEN]]),
        (bmp(16, b"\x00\x7c\xe0\x03\x1f\x00\xff\x7f", -2), [[RED, GREEN], [BLUE, WHITE]]),
        (bmp(16, b"\x00\xf8\xe0\x07", 1, masks=struct.pack("<III", 0xF800, 0x07E0, 0x1F)), [[RED, GREEN]]),
        (bmp(32, b"\xff\0\0\0\0\0\xff\0", 1), [[BLUE, RED]]),
        (bmp(32, b"\xff\0\0\0\0\0\xff\0", 1, masks=struct.pack("<III", 0xFF, 0xFF00, 0xFF0000)), [[RED, BLUE]]),
        (bmp(4, b"\x12\0\0\0", 1, palette=PALETTE), [[GREEN, BLUE]]),
        (bmp(4, b"\x19\0\0\0", 1, palette=PALETTE), [[GREEN, (0, 0, 0)]]),
        (bmp(1, b"\x40\0\0\0", 1, palette=PALETTE[:8]), [[RED, GREEN]]),
        (bmp(8, b"\3\0\0\0", 1, palette=PALETTE), [[WHITE, RED]]),
        (bmp(8, b"\3\0\0\0", 1, palette=PALETTE, offset=54), [[WHITE, RED]]),
        (bmp(8, b"\3\0", 1, palette=PALETTE), [[WHITE, RED]]),
        (
            b"BM" + struct.pack("<IHHIIHHHH", 0, 0, 0, 26, 12, 2, 1, 1, 24) + bytes([*RED, *WHITE, 0, 0]),
            [[RED, WHITE]],
        ),
    ],
    ids=[
        *("15 bits", "top row first", "16 bits", "32 bits", "32 bits the other way round", "4 bits", "colour missing"),
        *("1 bit", "8 bits", "palette left out of the offset", "last row not filled up", "of OS/2"),
    ],
)
def test_a_bmp_of_any_depth_is_decoded(body: bytes, rows: list[list[tuple[int, int, int]]]) -> None:
    assert decode(body, LIMITS).pixels.tolist() == np.array(rows).tolist()


def announced(body: bytes, at: int, text: bytes) -> bytes:
    return body[:at] + text + body[at + len(text) :]


WEBP, BMP = saved("WEBP", quality=90), saved("BMP")


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (WEBP[: len(WEBP) // 2], MalformedBody, "ends before"),
        (WEBP[:16], MalformedBody, "ends before"),
        (WEBP[:12], MalformedBody, "ends before"),
        (announced(WEBP[: len(WEBP) // 2], 4, struct.pack("<I", len(WEBP) // 2 - 8)), MalformedBody, "ends before"),
        (announced(WEBP, 26, b"\xff\x3f\xff\x3f"), ImageTooLarge, "16383x16383"),
        (announced(WEBP, 26, b"\0\0"), MalformedBody, "0x43"),
        (announced(WEBP, 23, b"\0"), MalformedBody, "damaged"),
        (saved("WEBP", lossless=True), UnsupportedBody, "a lossless WebP"),
        (BMP[: len(BMP) // 2], MalformedBody, "ends before"),
        (BMP[:20], UnsupportedBody, "a BMP"),
        (announced(BMP, 18, struct.pack("<ii", 30_000, 30_000)), ImageTooLarge, "30000x30000"),
        (announced(BMP, 18, struct.pack("<ii", 30_000, -(2**31))), ImageTooLarge, "2147483648"),
        (announced(BMP, 18, struct.pack("<ii", -5, 3)), MalformedBody, "-5x3"),
        (announced(BMP, 18, struct.pack("<ii", 5, 0)), MalformedBody, "5x0"),
        (announced(BMP, 10, b"\xff\xff\xff\xff"), MalformedBody, "ends before"),
        (announced(BMP, 30, b"\1"), UnsupportedBody, "compression 1"),
        (announced(BMP, 30, b"\4"), UnsupportedBody, "compression 4"),
        (announced(BMP, 28, b"\2"), UnsupportedBody, "2 bits"),
        (bmp(32, bytes(8), 1, masks=bytes(12)), UnsupportedBody, "8 bits each"),
        (bmp(16, bytes(4), 1, masks=bytes(12)), UnsupportedBody, "16 bits together"),
    ],
)
def test_a_bad_one_is_refused_by_name(body: bytes, kind: type[RequestError], words: str) -> None:
    said = said_of(body)
    assert said.startswith(kind.__name__) and words in said, said


@pytest.mark.parametrize("body", [WEBP, BMP], ids=["WebP", "BMP"])
def test_damage_gives_a_picture_of_the_announced_size_or_an_error(body: bytes) -> None:
    dice = random.Random(8)
    for _ in range(600):
        damaged = bytearray(body)
        for _ in range(dice.choice((1, 3, 30))):
            damaged[dice.randrange(dice.choice((64, len(damaged))))] = dice.randrange(256)
        try:
            frame = decode(bytes(damaged[: dice.choice((len(body), dice.randrange(len(body))))]), LIMITS)
        except RequestError:
            continue
        assert frame.pixels.shape == (frame.height, frame.width, 3)


def box(brand: bytes, *others: bytes) -> bytes:
    return struct.pack(">I", 16 + 4 * len(others)) + b"ftyp" + brand + bytes(4) + b"".join(others) + bytes(64)


OTHERS = {
    "GIF": saved("GIF"),
    "TIFF": saved("TIFF"),
    "TIFF of the other order": b"MM\0*" + bytes(40),
    "large TIFF": b"II+\0" + bytes(40),
    "HEIC": box(b"heic", b"mif1"),
    "HEIC under its general brand": box(b"mif1", b"heic"),
    "AVIF": box(b"avif", b"mif1"),
    "AVIF under its general brand": box(b"mif1", b"miaf", b"avif"),
    "JPEG 2000": saved("JPEG2000"),
    "JPEG 2000 codestream": saved("JPEG2000", no_jp2=True),
    "JPEG XL": b"\xff\x0a" + bytes(40),
    "JPEG XL in a box": b"\0\0\0\x0cJXL \r\n\x87\n",
    "ICO": saved("ICO"),
    "PSD": b"8BPS\0\1" + bytes(40),
    "PDF": b"%PDF-1.7\n",
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "SVG behind XML": b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg xmlns="http://www.w3.org/2000/svg"/>',
    "XML": b'<?xml version="1.0"?><Response/>',
    "HTML": b"\n<!DOCTYPE HTML><html><title>Log in</title>",
    "HTML with a drawing": b"<html><svg/></html>",
    "raw": b"II*\0\x10\0\0\0CR\2\0" + bytes(40),
    "CR3": box(b"crx "),
    "MP4": box(b"isom", b"mp41"),
    "QuickTime": box(b"qt  "),
    "AVI": b"RIFF\0\0\0\0AVI LIST",
    "Matroska": b"\x1a\x45\xdf\xa3" + bytes(40),
    "H.264": b"\0\0\0\1\x67\x42\0\x1e" + bytes(40),
    "MPEG transport stream": (b"\x47" + bytes(187)) * 3,
    "Flash": b"FLV\1\5" + bytes(40),
    "gzip": b"\x1f\x8b\x08" + bytes(40),
    "ZIP": b"PK\3\4" + bytes(40),
    "PNM": b"P6\n2 2\n255\n" + bytes(12),
    "base64": base64.b64encode(WEBP),
    "data address": b"data:image/png;base64,iVBORw0KGgo=",
    "NumPy": b"\x93NUMPY\1\0" + bytes(40),
    "TGA": saved("TGA"),
    "TGA, compressed": saved("TGA", compression="tga_rle"),
    "SGI": saved("SGI"),
    "XBM": b"#define a_width 8\n#define a_height 1\n",
    "XPM": b"/* XPM */\nstatic char *a[] = {",
    "DPX": b"SDPX\0\0\x20\0" + bytes(40),
}


@pytest.mark.parametrize("body", OTHERS.values(), ids=list(OTHERS))
def test_every_other_kind_is_refused_by_its_name(body: bytes) -> None:
    said = said_of(body)
    assert (
        said.startswith("UnsupportedBody: body: a") or said.startswith("UnsupportedBody: body: gzip") or "XML" in said
    )
    assert ", which is not taken; send" in said and not is_picture(body)


NAMES = {
    "HEIC under its general brand": "HEIC",
    "AVIF under its general brand": "AVIF",
    "CR3": "raw file (CR3)",
    "HTML with a drawing": "HTML",
    "SVG behind XML": "SVG",
    "base64": "base64",
    "H.264": "H.264",
    "gzip": "gzip",
    "ICO": "ICO",
    "TGA": "TGA",
}


@pytest.mark.parametrize("kind", list(NAMES))
def test_kinds_that_begin_alike_are_told_apart(kind: str) -> None:
    assert NAMES[kind] in said_of(OTHERS[kind])


def test_no_kind_takes_long_to_recognise() -> None:
    for kind in KINDS:
        for filling in (b"<!--", b"<svg", b"\0\0\0\1", b"ftyp", b"avif"):
            kind.head.match(b"<!" + filling * 2**18)


def test_a_text_that_begins_like_a_bmp_is_none() -> None:
    assert not is_picture(b"BMW 320d, black, seen at the gate twice")
