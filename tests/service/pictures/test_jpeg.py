"""JPEG files: what is odd about them is passed over, what is missing or broken is not."""

import io
import random
import re
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from service.errors import DeadlineExceeded, ImageTooLarge, MalformedBody, RequestError, UnsupportedBody
from service.pictures.body import decode
from service.pictures.image import ImageLimits
from service.pictures.jpeg import MAX_JPEG_SCANS, MAX_JPEG_SEGMENTS, read_jpeg
from service.pictures.jpeg_pixels import LONG_WORK_BYTES
from service.pipeline.large_pictures import LARGE_BYTES
from tests.service.flat_jpeg import COLOUR, EOI, SOI, flat_jpeg, frame, interleaved, scan_head, segment, tables

LIMITS = ImageLimits(max_pixels=40_000_000, max_side=16_384)
SHRINKING = ImageLimits(max_pixels=40_000_000, max_side=16_384, shrink_to=(40, 40))
PICTURES = Path("tests/cases")
CLEAN = (PICTURES / "clean.jpg").read_bytes()
SPARE = b"\x12\x34\x56\x78" * 6
SOS, DHT = b"\xff\xda", b"\xff\xc4"
SAMPLINGS = [
    *[((h, v), (1, 1), (1, 1)) for h in (1, 2, 3, 4) for v in (1, 2, 3, 4) if h * v + 2 <= 10],
    *[((2, 2), (2, 1), (2, 1)), ((2, 2), (1, 2), (1, 2)), ((2, 2), (2, 2), (1, 1)), ((1, 1), (2, 1), (2, 1))],
    *[((2, 1), (2, 1), (2, 1)), ((4, 1), (2, 1), (2, 1)), ((1, 4), (1, 2), (1, 1)), ((1, 2), (2, 1), (1, 1))],
]


def decoded(body: bytes, limits: ImageLimits = LIMITS) -> np.ndarray:
    return decode(body, limits).pixels


def said_of(body: bytes) -> str:
    with pytest.raises(RequestError) as caught:
        decode(body, LIMITS)
    return f"{type(caught.value).__name__}: {caught.value}"


def drawing(**options: object) -> bytes:
    rng = np.random.default_rng(4)
    noise = cv2.resize(rng.integers(0, 256, (15, 20, 3), np.uint8), (320, 240), interpolation=cv2.INTER_CUBIC)
    file = io.BytesIO()
    PIL.Image.fromarray(noise).save(file, "JPEG", **options)  # type: ignore[arg-type]
    return file.getvalue()


PLAIN, PROGRESSIVE, RESTARTING = drawing(), drawing(progressive=True), drawing(restart_marker_rows=1)


def into_header(body: bytes, piece: bytes) -> bytes:
    return body[:2] + piece + body[2:]


def before_last(marker: bytes, body: bytes, piece: bytes = SPARE) -> bytes:
    at = body.rindex(marker)
    return body[:at] + piece + body[at:]


def before_first(pattern: bytes, body: bytes, piece: bytes = SPARE) -> bytes:
    """Puts a piece before the first marker behind the beginning of the scans."""
    found = re.compile(pattern).search(body, body.index(SOS) + 2)
    assert found
    return body[: found.start()] + piece + body[found.start() :]


def padded_scans(body: bytes) -> bytes:
    """With bytes to spare behind the data of every scan."""
    start = body.index(SOS) + 2
    return body[:start] + re.sub(rb"\xff(?=[\xc4\xd9\xda])", SPARE + b"\xff", body[start:])


def icc(number: int, count: int, profile: bytes) -> bytes:
    return segment(0xE2, b"ICC_PROFILE\0" + bytes([number, count]) + profile)


def after_jfif(body: bytes, piece: bytes) -> bytes:
    end = 4 + struct.unpack(">H", body[4:6])[0]
    return body[:end] + piece + body[end:]


def without_jfif(body: bytes, piece: bytes = b"") -> bytes:
    return body[:2] + piece + body[4 + struct.unpack(">H", body[4:6])[0] :]


def adobe(transform: int) -> bytes:
    return segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))


def odd_scan(body: bytes) -> bytes:
    """A sequential scan whose header says nonsense about coefficients."""
    at = body.index(SOS) + 2
    end = at + struct.unpack(">H", body[at : at + 2])[0]
    return body[: end - 3] + b"\x01\x05\x21" + body[end:]


# What libjpeg warns of, and what other programs trip over, with no pixel the worse for it.
ODDITIES: dict[str, Callable[[bytes], bytes]] = {
    "bytes before the end": lambda body: before_last(EOI, body),
    "zeros before the end": lambda body: before_last(EOI, body, bytes(500)),
    "one byte before the end": lambda body: before_last(EOI, body, b"\x81"),
    "stuffed bytes before the end": lambda body: before_last(EOI, body, b"\xff\0" * 20 + b"\x07" * 9),
    "fill bytes before the end": lambda body: before_last(EOI, body, b"\xff" * 99),
    "bytes and fill bytes before the end": lambda body: before_last(EOI, body, SPARE + b"\xff" * 5),
    "bytes between segments": lambda body: after_jfif(body, b"\0\0"),
    "marker-like bytes between segments": lambda body: after_jfif(body, b"\xff\0\xff\xff\0\xff\xd3\x01"),
    "fill bytes between segments": lambda body: after_jfif(body, b"\xff" * 7),
    "bytes behind the start": lambda body: into_header(body, b"\0junk"),
    "bytes before the scan": lambda body: body.replace(SOS, SPARE + SOS, 1),
    "ICC of no pieces": lambda body: after_jfif(body, icc(0, 0, b"")),
    "ICC with a piece missing": lambda body: after_jfif(body, icc(1, 2, b"x" * 50)),
    "ICC with a piece twice": lambda body: after_jfif(body, icc(1, 2, b"x") + icc(1, 2, b"y")),
    "ICC whose pieces disagree": lambda body: after_jfif(body, icc(1, 2, b"x") + icc(2, 3, b"y")),
    "Adobe's YCCK in three colours": lambda body: without_jfif(body, adobe(2)),
    "an Adobe transform nobody knows": lambda body: without_jfif(body, adobe(9)),
    "JFIF of a version to come": lambda body: body.replace(b"JFIF\0\x01", b"JFIF\0\x07"),
    "JFIF with a thumbnail that is not there": lambda body: body[:18] + b"\x20\x20" + body[20:],
    "no JFIF": without_jfif,
    "a segment that is too short for its length": lambda body: after_jfif(body, b"\xff\xe5\0\0\xff\xe5\0\1"),
    "a scan that names no coefficients": odd_scan,
    "a thumbnail": lambda body: after_jfif(body, segment(0xE1, b"Exif\0\0" + flat_jpeg([(1, 1)]) * 30)),
    "markers in a comment": lambda body: after_jfif(body, segment(0xFE, SOS * 200 + EOI)),
    "another picture behind it": lambda body: body + PROGRESSIVE * 12,
    "scans behind it": lambda body: body + SOS * 500,
    "blanks before it": lambda body: b"\r\n\t " + body,
}


@pytest.mark.parametrize("body", [PLAIN, CLEAN, RESTARTING], ids=["plain", "clean", "with restarts"])
@pytest.mark.parametrize("oddity", ODDITIES.values(), ids=list(ODDITIES))
def test_an_oddity_changes_no_pixel(oddity: Callable[[bytes], bytes], body: bytes) -> None:
    odd = oddity(body)
    assert odd != body
    assert np.array_equal(decoded(odd), decoded(body))


@pytest.mark.parametrize(
    "odd",
    [
        before_first(rb"\xff\xd0", RESTARTING),
        before_first(rb"\xff\xd3", before_first(rb"\xff\xd1", before_last(EOI, RESTARTING)), bytes(9)),
        before_first(rb"\xff\xda", PROGRESSIVE),
        before_first(rb"\xff\xc4", before_last(SOS, before_last(EOI, PROGRESSIVE), bytes(9)), b"\xff\0\x01" * 9),
        padded_scans(PROGRESSIVE),
    ],
    ids=["restart", "restarts and end", "scan", "tables, scan and end", "every scan"],
)
def test_bytes_to_spare_inside_change_no_pixel(odd: bytes) -> None:
    original = RESTARTING if b"\xff\xdd" in odd else PROGRESSIVE
    assert np.array_equal(decoded(odd), decoded(original))


def test_frames_of_films_come_without_their_huffman_tables() -> None:
    lean = re.sub(rb"\xff\xc4\0.", lambda found: b"\xff\xfe" + found[0][2:], PLAIN)
    assert lean.count(DHT) == 0 < PLAIN.count(DHT)
    assert np.array_equal(decoded(lean), decoded(PLAIN))


@pytest.mark.parametrize("name", ["extraneous-before-eoi", "subsampling-410", "subsampling-441", "icc-empty-chunk"])
def test_odd_pictures_are_decoded_scaled_or_whole(name: str) -> None:
    frame = decode((PICTURES / f"{name}.jpg").read_bytes(), ImageLimits(40_000_000, 16_384, shrink_to=(100, 100)))
    assert (frame.width, frame.height) == (400, 300)
    assert frame.pixels.shape[1] in range(100, 401)


def test_any_bytes_to_spare_change_no_pixel_of_any_picture() -> None:
    dice = random.Random(5)
    for number in range(150):
        size, mode = (dice.randrange(17, 200), dice.randrange(17, 150)), dice.choice(("RGB", "L", "CMYK"))
        noise = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), np.uint8)
        file = io.BytesIO()
        options = dice.choice(({}, {"progressive": True}, {"restart_marker_blocks": dice.choice((1, 3, 7))}))
        smooth = cv2.GaussianBlur(noise, (0, 0), dice.choice((0.3, 2, 9)))
        picture = PIL.Image.fromarray(smooth).convert(mode)
        picture.save(file, "JPEG", quality=dice.choice((20, 75, 100)), **options)  # type: ignore[arg-type]
        body = file.getvalue()
        count = dice.choice((1, 2, 3, 5, 7, 8, 9, 16, 24, 500))
        spare = dice.choice(
            (bytes(count), dice.randbytes(count).replace(b"\xff", b"\0"), b"\xff\0" * count, b" " * count)
        )
        for limits in (LIMITS, SHRINKING):
            assert np.array_equal(decoded(before_last(EOI, body, spare), limits), decoded(body, limits)), (
                number,
                spare,
            )


def cut(body: bytes) -> bytes:
    """Without half of its last scan's data, but with its end."""
    begin = body.rindex(SOS)
    return body[: begin + (len(body) - begin) // 2] + EOI


def broken(body: bytes) -> bytes:
    """With codes that are in no table, in the middle of the data."""
    middle = (body.index(SOS) + len(body)) // 2
    return body[:middle] + b"\xff\0" * 400 + body[middle + 800 :]


def cut_early(body: bytes) -> bytes:
    """Without a part of its first scan's data or first restart interval, and nothing else."""
    begin = body.index(SOS) + 20
    found = re.compile(rb"\xff[\xc4\xd0-\xda]").search(body, begin)
    assert found
    return body[: begin + (found.start() - begin) // 2] + body[found.start() :]


@pytest.mark.parametrize(
    "damage", [cut, cut_early, broken, lambda body: body[:-2], lambda body: body[: len(body) // 2]]
)
@pytest.mark.parametrize("body", [PLAIN, PROGRESSIVE, RESTARTING], ids=["plain", "progressive", "with restarts"])
@pytest.mark.parametrize("oddity", [lambda body: body, *ODDITIES.values()], ids=["nothing else", *list(ODDITIES)])
def test_an_oddity_hides_no_damage(
    oddity: Callable[[bytes], bytes], damage: Callable[[bytes], bytes], body: bytes
) -> None:
    try:
        odd = oddity(damage(body))
    except ValueError:  # no end marker to put it before
        pytest.skip("not possible together")
    if odd.count(EOI) > body.count(EOI) and not damage(body).endswith(EOI):
        pytest.skip("what follows gives it an end")
    assert said_of(odd).startswith("MalformedBody: image: the JPEG"), odd


@pytest.mark.parametrize("marker", [rb"\xff\xda", rb"\xff\xc4"], ids=["scan", "tables"])
@pytest.mark.parametrize("damage", [cut, broken])
def test_bytes_to_spare_inside_hide_no_damage(marker: bytes, damage: Callable[[bytes], bytes]) -> None:
    assert "damaged" in said_of(before_first(marker, damage(PROGRESSIVE)))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_data_that_was_lost_and_filled_with_zeros_is_damage(share: float) -> None:
    begin = PLAIN.index(SOS) + 14
    kept = PLAIN[: begin + int(share * (len(PLAIN) - begin))]
    assert "damaged" in said_of(kept + bytes(len(PLAIN) - len(kept)) + EOI)


@pytest.mark.parametrize("filling", [b"\0", b" ", b"\x55"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_progressive_picture_of_which_the_rest_was_filled_up_is_damaged(mode: str, filling: bytes) -> None:
    file = io.BytesIO()
    PIL.Image.open(io.BytesIO(CLEAN)).convert(mode).save(file, "JPEG", progressive=True)
    body = file.getvalue()
    for percent in range(5, 90, 5):
        kept = body[: len(body) * percent // 100]
        assert "JPEG" in said_of(kept + filling * (len(body) - len(kept)) + EOI), percent


@pytest.mark.parametrize(
    "spare", [bytes(500), b" " * 60, b"\xff\0" * 40, SPARE], ids=["zeros", "blanks", "0xff", "any"]
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_flat_progressive_picture_may_have_bytes_to_spare(mode: str, spare: bytes) -> None:
    file = io.BytesIO()
    PIL.Image.new(mode, (800, 600), "grey").save(file, "JPEG", progressive=True)
    assert decoded(padded := before_last(EOI, file.getvalue(), spare)).shape == (600, 800, 3), padded


def test_bytes_to_spare_before_a_restart_hide_no_missing_data() -> None:
    assert "premature end" in said_of(before_first(rb"\xff\xd0", cut(RESTARTING)))


@pytest.mark.parametrize("factors", SAMPLINGS, ids=str)
@pytest.mark.parametrize("limits", [LIMITS, SHRINKING], ids=["whole", "scaled"])
@pytest.mark.parametrize("restart", [0, 3])
def test_any_sampling_of_colours_is_decoded(
    factors: tuple[tuple[int, int], ...], limits: ImageLimits, restart: int
) -> None:
    pixels = decoded(flat_jpeg(factors, restart=restart), limits).astype(int)
    assert np.abs(pixels - COLOUR).max() <= 3
    assert limits.shrink_to or pixels.shape == (37, 50, 3)


@pytest.mark.parametrize("factors", SAMPLINGS, ids=str)
def test_any_sampling_cut_is_damaged(factors: tuple[tuple[int, int], ...]) -> None:
    body = flat_jpeg(factors, 200, 200)
    assert "damaged" in said_of(body[: body.index(SOS) + 30] + EOI)


@pytest.mark.parametrize("spare", [b"", SPARE], ids=["whole", "bytes before the end"])
@pytest.mark.parametrize(
    ("arithmetic", "original"),
    [("arithmetic-410", "subsampling-410"), ("arithmetic-progressive-3x1", "subsampling-3x1")],
)
def test_arithmetic_codes_go_with_any_sampling(arithmetic: str, original: str, spare: bytes) -> None:
    body = before_last(EOI, (PICTURES / f"{arithmetic}.jpg").read_bytes(), spare)
    assert np.array_equal(decoded(body), decoded((PICTURES / f"{original}.jpg").read_bytes()))


@pytest.mark.parametrize("name", ["subsampling-410", "subsampling-3x1", "subsampling-441", "arithmetic-410"])
def test_a_good_picture_leaves_standard_error_empty(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    decoded((PICTURES / f"{name}.jpg").read_bytes())
    assert capfd.readouterr().err == ""


def test_fractions_of_sampling_are_refused_by_name() -> None:
    assert "UnsupportedBody: body: a JPEG whose colours" in said_of(flat_jpeg([(3, 1), (2, 1), (1, 1)]))


def test_a_height_behind_the_first_scan_is_read() -> None:
    body = flat_jpeg([(2, 1), (1, 1), (1, 1)])
    later = body.replace(struct.pack(">HH", 37, 50), struct.pack(">HH", 0, 50))
    assert later != body
    assert np.array_equal(decoded(later[:-2] + segment(0xDC, b"\0\x25") + EOI), decoded(body))
    assert "50x0" in said_of(later)


def test_components_may_come_in_scans_of_their_own_but_all_have_to_come() -> None:
    whole = SOI + tables() + frame(16, 8, [(1, 1)] * 3)
    scans = [scan_head([number]) + interleaved(16, 8, [(1, 1)], [level]) for number, level in enumerate((90, 150, 60))]
    assert np.abs(decoded(whole + b"".join(scans) + EOI).astype(int) - COLOUR).max() <= 3
    assert "before the last of its colours" in said_of(whole + b"".join(scans[:2]) + EOI)


def scans(count: int) -> bytes:
    """A picture with so many scans, of which all but the first say nothing new."""
    body = flat_jpeg([(1, 1)])
    scan = body[body.index(SOS) : -2]
    return body[:-2] + scan * (count - 1) + EOI


@pytest.mark.parametrize("between", [b"", b"\0", b"\xff" * 9, SPARE, b"\xff\0\xff\xd5", segment(0xE1, EOI)])
def test_over_a_hundred_scans_are_too_many_wherever_they_are(between: bytes) -> None:
    assert read_jpeg(scans(MAX_JPEG_SCANS)).scans
    hidden = scans(MAX_JPEG_SCANS + 1).replace(SOS, between + SOS)
    assert "ImageTooLarge" in said_of(hidden) and "100 scans" in said_of(hidden)


def test_of_the_largest_picture_only_usual_numbers_of_scans_are_decoded() -> None:
    with pytest.raises(MalformedBody, match="more than one scan"):  # which its decoder says
        decode(scans(20), ImageLimits(50 * 37, 50))
    with pytest.raises(ImageTooLarge, match="50x37 pixels in 21 scans"):
        decode(scans(21), ImageLimits(50 * 37, 50))


def test_many_scans_of_a_small_picture_count_as_a_large_one() -> None:
    claimed: list[int] = []
    large = scans(100).replace(struct.pack(">HH", 37, 50), struct.pack(">HH", 800, 800))
    with suppress(MalformedBody):
        decode(large, replace(LIMITS, claim=lambda pixels, size: claimed.append(size)))
    assert claimed == [LONG_WORK_BYTES] and LONG_WORK_BYTES >= LARGE_BYTES


def test_tables_that_are_sent_over_and_over_are_not_copied() -> None:
    table = segment(0xDB, (b"\0" + bytes([8] * 64)) * 1000)
    assert "1048576 bytes of tables" in said_of(CLEAN[:2] + table * 20 + CLEAN[2:])


@pytest.mark.parametrize("body", [padded_scans(CLEAN), scans(3)], ids=["spare bytes", "odd progression"])
def test_nothing_is_decoded_once_more_for_nobody(body: bytes) -> None:
    def look() -> None:
        raise DeadlineExceeded("gone")

    assert decode(CLEAN, replace(LIMITS, look=look)).width
    with pytest.raises(DeadlineExceeded):
        decode(body, replace(LIMITS, look=look))


def test_what_the_decoder_sees_is_what_was_counted() -> None:
    """Whatever stands between segments, read again it is the same segments, and nothing is left that could be more."""
    dice = random.Random(6)
    pieces = [SOS, EOI, DHT, SOI, b"\xff", b"\0", b"\xff\xd0", b"\xff\xe1\0\x09", b"\xff\x01", b"\xff\xfe\0\0", SPARE]
    read = 0
    for _ in range(3000):
        body = bytearray(dice.choice((PLAIN, PROGRESSIVE, RESTARTING)))
        for _ in range(dice.randrange(1, 4)):
            at = dice.choice((dice.randrange(2, 700), dice.randrange(2, len(body))))
            body[at:at] = dice.choice(pieces)
        try:
            plain = read_jpeg(bytes(body))
        except RequestError:
            continue
        read += 1
        assert read_jpeg(plain.file()) == plain
    assert read > 300


def test_segments_are_bounded() -> None:
    comments = segment(0xFE, b"") * MAX_JPEG_SEGMENTS
    assert "segments" in said_of(after_jfif(PLAIN, comments))


@pytest.mark.parametrize(
    ("filling", "kind"),
    [
        (b"\xff", MalformedBody),
        (b"\xff\xd0", MalformedBody),
        (b"\xff\0", MalformedBody),
        (b"\0", MalformedBody),
        (b"\xff\xfe\0\2", ImageTooLarge),
        (b"\xff\xdb\0\2", ImageTooLarge),
    ],
)
def test_hostile_bodies_are_walked_once(filling: bytes, kind: type[RequestError]) -> None:
    """Anything but a linear walk would take hours."""
    with pytest.raises(kind):
        decode(SOI + filling * (2**24 // len(filling)), LIMITS)
    head = PLAIN[:-2]
    with suppress(RequestError):
        decode(head[: head.index(SOS) + 14] + filling * (2**22 // len(filling)) + EOI, LIMITS)


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (SOI + frame(8, 8, [(1, 1)], bits=12) + EOI, "12-bit JPEG"),
        (SOI + frame(8, 8, [(1, 1)], 0xC1, bits=12) + EOI, "12-bit JPEG"),
        (SOI + frame(8, 8, [(1, 1)], 0xC3) + EOI, "lossless JPEG"),
        (SOI + frame(8, 8, [(1, 1)], 0xC3, bits=16) + EOI, "lossless JPEG"),
        (SOI + frame(8, 8, [(1, 1)], 0xCB) + EOI, "lossless JPEG"),
        (SOI + segment(0xE0, b"JFIF\0") + frame(8, 8, [(1, 1)], 0xC5) + EOI, "hierarchical JPEG"),
        (SOI + frame(8, 8, [(1, 1)], 0xDE) + EOI, "hierarchical JPEG"),
        (SOI + frame(8, 8, [(1, 1)], 0xF7) + EOI, "JPEG-LS"),
        (SOI + frame(8, 8, [(1, 1)] * 2) + EOI, "2 colour channels"),
        (SOI + frame(8, 8, [(1, 1)] * 5) + EOI, "5 colour channels"),
    ],
)
def test_other_jpegs_are_refused_by_name(body: bytes, name: str) -> None:
    said = said_of(body)
    assert said.startswith(UnsupportedBody.__name__) and name in said and "send" in said


@pytest.mark.parametrize("damage", [cut, broken, before_last], ids=["cut", "broken", "spare bytes"])
def test_cmyk_is_checked_like_colour(damage: Callable[..., bytes]) -> None:
    file = io.BytesIO()
    PIL.Image.open(io.BytesIO(PLAIN)).convert("CMYK").save(file, "JPEG")
    body = file.getvalue()
    if damage is before_last:
        assert np.array_equal(decoded(before_last(EOI, body)), decoded(body))
    else:
        assert "damaged" in said_of(damage(body))
