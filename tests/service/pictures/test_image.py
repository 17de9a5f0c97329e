"""Bodies become pixels, or are refused by name before anything is allocated."""

import base64
import io
import json
import re
import struct
import tracemalloc
import zlib
from dataclasses import replace

import cv2
import numpy as np
import PIL.Image
import pytest

from service.errors import ImageTooLarge, InvalidValue, MalformedBody, RequestError, UnsupportedBody
from service.pictures.body import decode
from service.pictures.image import Frame, ImageLimits, letterbox
from service.pictures.png import plain_png

LIMITS = ImageLimits(max_pixels=40_000_000, max_side=16_384)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    ramp = np.linspace(0, 255, 60 * 40 * 3, dtype=np.uint8).reshape(40, 60, 3)
    return np.ascontiguousarray(ramp)


def frame(pixels: np.ndarray) -> Frame:
    return Frame(pixels, pixels.shape[1], pixels.shape[0])


def encoded(picture: np.ndarray, suffix: str) -> bytes:
    return bytes(cv2.imencode(suffix, picture)[1])


def raw_json(height: object, width: object, image: object) -> bytes:
    return json.dumps({"height": height, "width": width, "image": image}).encode()


def announced_png(width: int, height: int) -> bytes:
    """A PNG whose header lies about its size."""
    header = struct.pack(">4sIIBBBBB", b"IHDR", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IEND\xaeB`\x82"


def announced_jpeg(picture: np.ndarray, width: int, height: int) -> bytes:
    body = bytearray(encoded(picture, ".jpg"))
    start = body.index(b"\xff\xc0")
    body[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(body)


def test_png_is_decoded_exactly(picture: np.ndarray) -> None:
    assert np.array_equal(decode(encoded(picture, ".png"), LIMITS).pixels, picture)


def test_jpeg_decodes_to_what_opencv_sees(picture: np.ndarray) -> None:
    body = encoded(picture, ".jpg")
    assert np.array_equal(decode(body, LIMITS).pixels, cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR))


def test_raw_bgr_is_taken_as_it_is(picture: np.ndarray) -> None:
    body = raw_json(40, 60, base64.b64encode(picture.tobytes()).decode())
    assert np.array_equal(decode(body, LIMITS).pixels, picture)


def test_raw_bgr_may_begin_with_a_byte_order_mark(picture: np.ndarray) -> None:
    body = raw_json(40, 60, base64.b64encode(picture.tobytes()).decode())
    assert np.array_equal(decode(b"\xef\xbb\xbf\r\n" + body, LIMITS).pixels, picture)


@pytest.mark.parametrize(
    "rewrite",
    [lambda text: text.replace("/", "\\/"), lambda text: "\\n".join(text[i : i + 76] for i in range(0, len(text), 76))],
    ids=["escaped slashes", "wrapped lines"],
)
def test_raw_bgr_survives_other_encoders_habits(rewrite: object) -> None:
    picture = np.full((40, 60, 3), 255, np.uint8)  # its base64 is all slashes
    text = rewrite(base64.b64encode(picture.tobytes()).decode())  # type: ignore[operator]
    body = f'  {{"image": "{text}", "width": 60, "height": 40, "camera": 3}}'.encode()
    assert np.array_equal(decode(body, LIMITS).pixels, picture)


@pytest.mark.parametrize("escape", ["\\/", "\\u002f", "\\n/", "/"])
@pytest.mark.parametrize("before", range(6))
def test_escapes_of_raw_bgr_may_stand_anywhere(escape: str, before: int) -> None:
    picture = np.full((300, 400, 3), 255, np.uint8)
    text = " " * before + "\\t" + escape * (300 * 400 * 4)
    body = f'{{"height": 300, "width": 400, "image": "{text}"}}'.encode()
    assert np.array_equal(decode(body, LIMITS).pixels, picture)


@pytest.mark.parametrize("character", ["\U0001f600", "\\ud83d\\ude00", "\\\\"], ids=["plain", "escaped", "backslash"])
def test_one_character_makes_no_raw_frame_four_times_as_large(character: str) -> None:
    text = "\\/" + "A" * 4_000_000 + character
    body = f'{{"height": 1000, "width": 1000, "image": "{text}"}}'.encode()
    tracemalloc.start()
    try:
        with pytest.raises(MalformedBody, match="not base64"):
            decode(body, LIMITS)
        assert tracemalloc.get_traced_memory()[1] < 2 * len(body)
    finally:
        tracemalloc.stop()


def large_frame() -> tuple[np.ndarray, str]:
    """Pixels, and their base64, of which only what stands around it is read as JSON."""
    pixels = np.random.default_rng(1).integers(0, 256, (120, 160, 3), np.uint8)
    return pixels, base64.b64encode(pixels.tobytes()).decode()


@pytest.mark.parametrize(
    "body",
    [
        '{"height": 120, "width": 160, "image": "%s"}',
        '{"image":"%s","width":160,"height":120}\n',
        '  {"width" : 160 , "image" : "%s" , "height" : 120, "more": [{"image": ""}, "\\\\\\"", {}]}',
        '{"more": "' + "x" * 5000 + '", "width": 160, "height": 120, "image": "%s"}',
        '{"image": "%s", "width": 160, "height": 120, "more": "' + "x" * 5000 + '"}',
        '{"image": "", "image": "%s", "width": 160, "height": 120}',
        '{"wi\\u0064th": 160, "height": 120, "im\\u0061ge": "%s"}',
    ],
    ids=["last", "first", "middle", "behind much", "before much", "twice", "escaped names"],
)
@pytest.mark.parametrize("kind", [bytes, lambda body: memoryview(bytearray(body))], ids=["bytes", "view"])
def test_a_large_raw_frame_is_found_wherever_it_stands(body: str, kind: type) -> None:
    pixels, text = large_frame()
    assert np.array_equal(decode(kind((body % text).encode()), LIMITS).pixels, pixels)


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (lambda text: "*" + text[1:], MalformedBody, "not base64"),
        (lambda text: text[:-1] + "*", MalformedBody, "not base64"),
        (lambda text: text[:-4] + "\xe9" + text[-2:], MalformedBody, "not base64"),
        (lambda text: text[:40_000] + "AA==" + text[40_004:], MalformedBody, "not base64"),
        (lambda text: text[:-4] + "AA==", InvalidValue, "57598 bytes"),
        (lambda text: text[:-4], InvalidValue, "57597 bytes"),
        (lambda text: text[:-8] + "\\u0041" + text[-2:], MalformedBody, "not base64"),
        (lambda text: text[:-8] + "\\/\\/\\/\\/", InvalidValue, "57597 bytes"),
        (lambda text: text[:-8] + "\\\\AAAAAA", MalformedBody, "backslash"),
        (lambda text: text[:-2] + '\\"', MalformedBody, "JSON body"),
        (lambda text: text[:40_000] + '"' + text[40_001:], MalformedBody, "JSON body"),
        (lambda text: text[:40_000] + '","x":"' + text[40_007:], InvalidValue, "30000 bytes"),
        (lambda text: text[:40_000] + '","height":4,"x":"' + text[40_018:], MalformedBody, "twice"),
    ],
)
def test_a_large_raw_frame_is_refused_for_what_is_in_its_image(damage: object, error: type, words: str) -> None:
    _, text = large_frame()
    claims = list[tuple[int, int]]()
    limits = replace(LIMITS, claim=lambda pixels, size: claims.append((pixels, size)))
    body = f'{{"height": 120, "width": 160, "image": "{damage(text)}"}}'  # type: ignore[operator]
    with pytest.raises(error, match=words):
        decode(body.encode(), limits)
    assert len(claims) <= 1


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_grey_and_alpha_pictures_become_three_channels(suffix: str) -> None:
    grey = np.arange(200, dtype=np.uint8).reshape(10, 20)
    assert decode(encoded(grey, suffix), LIMITS).pixels.shape == (10, 20, 3)
    assert decode(encoded(np.zeros((10, 20, 4), np.uint8), ".png"), LIMITS).pixels.shape == (10, 20, 3)


def bad_bodies(picture: np.ndarray) -> dict[str, tuple[bytes, type[RequestError], str]]:
    jpeg, png = encoded(picture, ".jpg"), encoded(picture, ".png")
    good = base64.b64encode(picture.tobytes()).decode()
    return {
        "empty": (b"", MalformedBody, "empty"),
        "blanks": (b" \r\n", MalformedBody, "empty"),
        "text": (b"hello there", UnsupportedBody, "neither JPEG, PNG, WebP, BMP nor JSON"),
        "apple's png": (png[:8] + b"\0\0\0\4CgBI\x50\0\x20\2\x2b\xd5\xb3\x7f" + png[8:], UnsupportedBody, "CgBI"),
        "jpeg cut in its data": (jpeg[: len(jpeg) // 2], MalformedBody, "JPEG"),
        "jpeg cut in its header": (jpeg[:20], MalformedBody, "JPEG"),
        "jpeg magic then noise": (b"\xff\xd8\xff" + b"\x00" * 64, MalformedBody, "JPEG"),
        "png cut in its data": (png[: len(png) // 2], MalformedBody, "PNG"),
        "png cut in its header": (png[:20], MalformedBody, "PNG"),
        "png without data": (announced_png(60, 40), MalformedBody, "PNG"),
        "png of zero width": (announced_png(0, 40), MalformedBody, "0x40"),
        "png too many pixels": (announced_png(8000, 8000), ImageTooLarge, "8000x8000"),
        "png too wide": (announced_png(20000, 1), ImageTooLarge, "20000x1"),
        "jpeg too many pixels": (announced_jpeg(picture, 8000, 8000), ImageTooLarge, "8000x8000"),
        "json not closed": (b'{"height": 4', MalformedBody, "JSON body"),
        "json nested deep": (b'{"height":1,"width":1,"image":' + b"[" * 1100, MalformedBody, "JSON body"),
        "json list": (b"[1, 2]", InvalidValue, "JSON body"),
        "json without image": (b'{"height": 4, "width": 4}', InvalidValue, "image"),
        "json height is text": (raw_json("40", 60, good), InvalidValue, "height"),
        "json height is a fraction": (raw_json(40.5, 60, good), InvalidValue, "height"),
        "json negative": (raw_json(-40, -60, good), InvalidValue, "at least 1"),
        "json zero": (raw_json(0, 60, ""), InvalidValue, "at least 1"),
        "json image is a number": (raw_json(40, 60, 7), InvalidValue, "not a string"),
        "json not base64": (raw_json(40, 60, "***"), MalformedBody, "base64"),
        "json too few bytes": (raw_json(40, 60, good[:400]), InvalidValue, "7200"),
        "json too large": (raw_json(10**6, 10**6, good), ImageTooLarge, "1000000x1000000"),
        "json not utf-8": (b'{"height": 1, \xff "width": 1}', MalformedBody, "JSON body"),
    }


@pytest.mark.parametrize("name", list(bad_bodies(np.zeros((40, 60, 3), np.uint8))))
def test_a_bad_body_is_refused_by_name(name: str, picture: np.ndarray) -> None:
    body, kind, words = bad_bodies(picture)[name]
    with pytest.raises(RequestError) as caught:
        decode(body, LIMITS)
    assert (type(caught.value), words in str(caught.value)) == (kind, True), str(caught.value)


def test_letterbox_follows_the_first_servers_rules() -> None:
    slot = np.zeros((32, 32, 3), np.uint8)
    how = letterbox(frame(np.full((7, 20, 3), 9, np.uint8)), slot)
    # scale 1.6: 32 x int(11.2) = 11 rows, 21 left over: 10 above, 11 below; the padding undone is (32 - 11.2) / 2.
    assert (slot[:10] == 128).all() and (slot[10:21] == 9).all() and (slot[21:] == 128).all()
    assert (how.scale, how.pad_x, how.pad_y) == pytest.approx((1.6, 0, 10.4))


def test_letterbox_survives_the_thinnest_pictures() -> None:
    slot = np.zeros((32, 32, 3), np.uint8)
    letterbox(frame(np.full((1, 5000, 3), 200, np.uint8)), slot)
    assert set(np.unique(slot)) == {128, 200}


def test_letterbox_overwrites_whatever_the_slot_held() -> None:
    fresh, used = np.zeros((32, 48, 3), np.uint8), np.full((32, 48, 3), 77, np.uint8)
    picture = np.random.default_rng(1).integers(0, 256, (50, 31, 3), np.uint8)
    letterbox(frame(picture), fresh)
    letterbox(frame(picture), used)
    assert np.array_equal(fresh, used)


def test_sixteen_bit_and_palette_pngs_are_scaled_to_eight_bits() -> None:
    deep = np.full((4, 4, 3), 0xABCD, np.uint16)
    assert (decode(encoded(deep, ".png"), LIMITS).pixels == 0xAB).all()


@pytest.mark.parametrize("suffix", [".tiff", ".ppm", ".pfm", ".jp2", ".hdr", ".ras", ".avif", ".gif"])
def test_no_other_format_reaches_a_decoder(picture: np.ndarray, suffix: str) -> None:
    body = encoded(picture.astype(np.float32) if suffix in (".pfm", ".hdr") else picture, suffix)
    assert cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED) is not None  # OpenCV would read it
    with pytest.raises(UnsupportedBody, match="not taken"):
        decode(body, LIMITS)


def animation(*pictures: np.ndarray) -> bytes:
    file = io.BytesIO()
    first, *rest = [PIL.Image.fromarray(picture[..., ::-1]) for picture in pictures]
    first.save(file, "PNG", save_all=True, append_images=rest)
    return file.getvalue()


def test_an_animation_is_its_first_picture(picture: np.ndarray) -> None:
    assert np.array_equal(decode(animation(picture, picture[::-1]), LIMITS).pixels, picture)


def test_what_is_no_pixels_is_kept_from_the_decoder(picture: np.ndarray) -> None:
    body = animation(picture, picture[::-1])
    assert {b"acTL", b"fcTL", b"fdAT"} <= set(re.findall(b"[a-z]{2}[A-Z][A-Z]", body))
    plain = plain_png(body)
    assert re.findall(b"acTL|fcTL|fdAT", plain) == []
    assert plain == plain_png(plain) and plain.endswith(b"IEND\xaeB`\x82")


def test_bytes_behind_a_png_change_nothing(picture: np.ndarray) -> None:
    assert np.array_equal(decode(encoded(picture, ".png") + bytes(1000), LIMITS).pixels, picture)


def test_a_cmyk_jpeg_becomes_bgr() -> None:
    file = io.BytesIO()
    PIL.Image.new("CMYK", (20, 10), (0, 255, 255, 0)).save(file, "JPEG")
    pixels = decode(file.getvalue(), LIMITS).pixels
    blue, green, red = pixels[5, 10].astype(int)
    assert pixels.shape == (10, 20, 3) and red > 200 and max(blue, green) < 60


@pytest.mark.parametrize("suffix", ["JPEG", "PNG"])
def test_exif_orientation_is_not_applied(suffix: str) -> None:
    file = io.BytesIO()
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees to view"
    PIL.Image.new("RGB", (20, 10)).save(file, suffix, exif=exif)
    assert decode(file.getvalue(), LIMITS).pixels.shape == (10, 20, 3)


def test_scaled_decoding_keeps_the_pictures_own_size_for_boxes() -> None:
    large = cv2.GaussianBlur(np.random.default_rng(2).integers(0, 256, (1080, 1920, 3), np.uint8), (0, 0), 9)
    body = encoded(large, ".jpg")
    shrunk = decode(body, ImageLimits(40_000_000, 16_384, shrink_to=(320, 320)))
    assert (shrunk.width, shrunk.height) == (1920, 1080)
    assert 320 <= shrunk.pixels.shape[1] < 1920
    whole_slot, shrunk_slot = np.zeros((320, 320, 3), np.uint8), np.zeros((320, 320, 3), np.uint8)
    assert letterbox(decode(body, LIMITS), whole_slot) == letterbox(shrunk, shrunk_slot)
    assert np.abs(whole_slot.astype(int) - shrunk_slot).mean() < 4
