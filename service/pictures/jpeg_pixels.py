"""Decodes a JPEG file into pixels, and tells a harmless oddity from data that is missing or broken.

libjpeg decodes on through both and gives the words of the first alone. So what only looks odd is taken away before it
can warn (`jpeg.py`); bytes to spare behind a scan's data, which only a decoder can find, are cut off and the rest
is decoded anew. Where they cannot be found, two decodes have to agree that differ in nothing but what follows the data.
"""

import re
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

import simplejpeg

from service.errors import ImageTooLarge, MalformedBody
from service.pictures.image import Frame, ImageLimits, Pixels, decode_with_opencv, scaled_sides, unlimited
from service.pictures.jpeg import END, MAX_JPEG_SCANS, Jpeg, Scan, read_jpeg, usual_jpeg

MAX_SPARE_PLACES = 8  # more are left where they are, and only missing data is looked for
MAX_RESTARTS = 2**18
# Each scan goes over the whole picture. Encoders write 10, of CMYK 18; a smaller picture may have more.
SCANS_OF_LARGEST = 20
MAX_READ_AHEAD = 16  # bytes that libjpeg has read before it misses any: 8, each of which may be stuffed
_PIXEL_BYTES = 3.0
BYTES_A_SAMPLE = 2  # of coefficients, which files of several scans need all at once
SMALL_CHANGE = 2**20
# What is held for as much is decoded at low priority.
LONG_WORK_BYTES = 2**25
_CMYK = 4

_SPARE = re.compile(r"(\d+) extraneous bytes before marker 0x(\w\w)")
_ODD_PROGRESSION = "Inconsistent progression"
_PREMATURE = "premature end"
_NO_NAME = "subsampling"  # TurboJPEG names six of them, and its callers decode no other
_EOI = 0xD9
_RESTARTS = range(0xD0, 0xD8)
_RESTART, _FILL = re.compile(rb"\xff(?=[\xd0-\xd7])"), re.compile(rb"\xff{2,}")
# Segments that decoders skip, put behind each scan so that a warning tells where it is from.
_SIGNS = range(0xE1, 0xEE)
# Read as data it is other pixels than the zeros that libjpeg puts in place of what is missing.
_TAIL = bytes.fromhex("d39a65b4 2fc8b15e a7d06c93 e5487b1d")

Decode = Callable[[bytes], Pixels]
"""Decodes a file; ValueError with libjpeg's first warning or error as its words."""
Look = Callable[[], None]
"""See `ImageLimits.look`."""


def decode_jpeg(body: bytes | memoryview, limits: ImageLimits) -> Frame:
    """Decodes a JPEG file; grey and CMYK ones become BGR.

    Raises:
        MalformedBody: truncated or damaged.
        ImageTooLarge: over the limits.
        UnsupportedBody: a JPEG of a kind that is not decoded here.
    """
    if usual := usual_jpeg(body):
        width, height = usual.width, usual.height
        limits.check(width, height)
        limits.claim(width * height, _held(_PIXEL_BYTES * width * height, len(body)))
        with suppress(ValueError):  # what it is, and whether it matters, is seen once it is taken apart
            return Frame(_to_bgr(width, height, limits)(usual.file), width, height)
        limits.look()
        limits = replace(limits, claim=unlimited)  # it would be the same
    return decode_taken_apart(body, limits)


def decode_taken_apart(body: bytes | memoryview, limits: ImageLimits) -> Frame:
    """Decodes any JPEG file; see `decode_jpeg`, which is quicker with usual ones."""
    jpeg = read_jpeg(body)
    width, height = jpeg.width, jpeg.height
    limits.check(width, height)
    if len(jpeg.scans) * width * height > SCANS_OF_LARGEST * limits.max_pixels:
        raise ImageTooLarge(
            f"image: a JPEG of {width}x{height} pixels in {len(jpeg.scans)} scans; save it anew, not progressive"
        )
    limits.claim(width * height, _needed(jpeg, len(body)))
    return Frame(_pixels(jpeg, limits), width, height)


def _needed(jpeg: Jpeg, length: int) -> int:
    """Bytes held while such a file of so many bytes is decoded; of many scans more, as they take as long."""
    pixel = 2 * _PIXEL_BYTES if jpeg.components == _CMYK else _PIXEL_BYTES
    if jpeg.in_several_scans:
        pixel = _PIXEL_BYTES + BYTES_A_SAMPLE * jpeg.samples
    pixels = jpeg.width * jpeg.height
    return max(_held(pixel * pixels, length), min(len(jpeg.scans) * pixels, LONG_WORK_BYTES))


def _held(size: float, length: int) -> int:
    """Bytes held by a decoder that makes `size` bytes of a file of `length` (measured)."""
    return int(size) + 2 * length + SMALL_CHANGE


def _pixels(jpeg: Jpeg, limits: ImageLimits) -> Pixels:
    if jpeg.components == _CMYK:
        return _settled(jpeg, _checked_cmyk, _with_opencv, limits.look)
    decode = _to_bgr(jpeg.width, jpeg.height, limits)
    return _settled(jpeg, decode, partial(decode, strict=False), limits.look)


def _to_bgr(width: int, height: int, limits: ImageLimits) -> Callable[..., Pixels]:
    """A decoder of files of these sides, scaled down if the limits say so; all its pixels are in the same memory."""
    least, eighths = (width, height), 8
    if limits.shrink_to:
        least = scaled_sides(width, height, limits.shrink_to)
        fitting = (n for n in range(1, 8) if _eighths(width, n) >= least[0] and _eighths(height, n) >= least[1])
        eighths = next(fitting, 8)
    memory = limits.pixels_memory(_eighths(height, eighths), _eighths(width, eighths))
    # It chooses the same eighths.
    return partial(simplejpeg.decode_jpeg, colorspace="BGR", min_width=least[0], min_height=least[1], buffer=memory)


def _eighths(side: int, count: int) -> int:
    return -(-side * count // 8)


def _settled(jpeg: Jpeg, decode: Decode, decode_on: Decode, look: Look) -> Pixels:
    """Decodes a file, without what there is to spare in it.

    Args:
        jpeg: the file.
        decode: stops at warnings.
        decode_on: decodes on through them, for the same pixels.
        look: called before each decode but the first.

    Raises:
        MalformedBody: truncated or damaged.
    """
    place = 0
    for _ in range(min(MAX_SPARE_PLACES, 1 + MAX_JPEG_SCANS // len(jpeg.scans))):  # of many scans each try is dear
        try:
            return decode(jpeg.file(_signs(jpeg)))
        except ValueError as error:
            words = str(error)
        look()
        if _NO_NAME in words:
            return _agreed(jpeg, _with_opencv, look)
        if _ODD_PROGRESSION in words:
            break
        spare = _SPARE.search(words)
        if not spare:
            raise _damaged(words)
        count, marker = int(spare[1]), int(spare[2], 16)
        if marker in _RESTARTS:
            break
        place = _scan_before(jpeg, marker, place)
        data = bytes(jpeg.scans[place].data).rstrip(b"\xff")
        jpeg = jpeg.with_data(place, data[:-count])
        if not jpeg.finished or _reads_filling(jpeg.scans[place], data[-count:]):
            raise _damaged(words)
        if jpeg.baseline and len(jpeg.scans) <= jpeg.components and not _ends_in_ones(jpeg, place, look):
            raise _damaged(words)
    return _agreed(jpeg, decode_on, look)


def _reads_filling(scan: Scan, spare: bytes) -> bool:
    """Whether what is left over is the rest of one value that was read as data before, as where data was lost.

    Refined DC values are single bits, which may well be alike.
    """
    alike = len(scan.data) - len(bytes(scan.data).rstrip(spare[:1]))
    return scan.head[-3] > 0 and len(set(spare)) == 1 and alike > 2 * MAX_READ_AHEAD


def _ends_in_ones(jpeg: Jpeg, place: int, look: Look) -> bool:
    """Whether the last byte that a scan's data needs is filled up with ones, as encoders do.

    Broken data, too, can leave bytes over: what was read for other codes than were written ends anywhere, or in zeros
    that stand for what was lost. Progressive files end in run lengths that may be too long without any harm.
    """
    data = bytes(jpeg.scans[place].data)
    spare, most = 0, min(MAX_READ_AHEAD, len(data))
    alike = len(data) - len(data.rstrip(data[-1:]))  # encoders fill up with one value, so this is tried first
    guesses = iter((alike, alike + 1))
    while spare < most:
        middle = next(guesses, 0)
        if not spare < middle <= most:
            middle = (spare + most + 1) // 2
        look()
        if _lacks_data(jpeg.with_data(place, data[: len(data) - middle])):
            most = middle - 1
        else:
            spare = middle
    data = data[: len(data) - spare]
    if data.endswith(b"\xff\0"):
        return True
    data = data.rstrip(b"\xff")  # what is left of one that was stuffed
    if not data:
        return False
    lowest_zero = ~data[-1] & (data[-1] + 1)
    jpeg = jpeg.in_whole_blocks()
    other = jpeg.with_data(place, data[:-1] + bytes([data[-1] | lowest_zero]).replace(b"\xff", b"\xff\0"))
    try:
        return _digest(_as_coded(jpeg)) != _digest(_as_coded(other))
    except ValueError:  # the zero was a code's last bit
        return True


def _lacks_data(jpeg: Jpeg) -> bool:
    try:
        _as_coded(jpeg, least=1)
    except ValueError as error:
        return _PREMATURE in str(error)
    return False


def _as_coded(jpeg: Jpeg, least: int = 0) -> Pixels:
    """Decodes a file without a warning, scaled down to sides of `least` pixels if it is not 0; CMYK stays CMYK."""
    colours = "CMYK" if jpeg.components == _CMYK else "BGR"
    pixels: Pixels = simplejpeg.decode_jpeg(jpeg.file(), colours, min_width=least, min_height=least)
    return pixels


def _agreed(jpeg: Jpeg, decode: Decode, look: Look) -> Pixels:
    """Decodes a file twice, with nothing and with something behind the data of each scan and each restart interval.

    A decoder that has all its data looks at none of that. Arithmetic codes are decoded once: their encoders leave out
    zeros at the end, so that what follows the data is always looked at.

    Raises:
        MalformedBody: the pixels differ, as there is data missing.
    """
    padded = jpeg
    for number, scan in enumerate(jpeg.scans):
        data = bytes(scan.data).rstrip(b"\xff")
        if sum(data.count(bytes([0xFF, marker])) for marker in _RESTARTS) > MAX_RESTARTS:
            raise _damaged(f"over {MAX_RESTARTS} restart markers")
        data = _RESTART.sub(_TAIL + b"\xff", _FILL.sub(b"\xff", data))
        padded = padded.with_data(number, data + _TAIL)
    # OpenCV's libjpeg warns on standard error of bytes before a marker; it looks for none behind an only scan.
    end = b"" if jpeg.baseline and len(jpeg.scans) == 1 else END
    try:
        if jpeg.arithmetic:
            return decode(jpeg.file())
        padded_digest = _digest(decode(padded.file(end=end)))
        look()
        pixels = decode(jpeg.file())
        if _digest(pixels) == padded_digest:
            return pixels
    except ValueError as error:
        raise _damaged(str(error)) from None
    raise _damaged("premature end of data")


def _digest(pixels: Pixels) -> int:
    """Tells whether two pictures are the same, without holding both."""
    return zlib.crc32(pixels.data)


def _signs(jpeg: Jpeg) -> tuple[bytes, ...]:
    return tuple(bytes([0xFF, _SIGNS[number % len(_SIGNS)], 0, 2]) for number in range(len(jpeg.scans) - 1))


def _scan_before(jpeg: Jpeg, marker: int, after: int) -> int:
    """The scan that is followed by this sign; warnings come in the order of the file."""
    if marker == _EOI:
        return len(jpeg.scans) - 1
    for number in range(after, len(jpeg.scans) - 1):
        if _SIGNS[number % len(_SIGNS)] == marker:
            return number
    raise _damaged(f"bytes before marker 0x{marker:02x}")


def _checked_cmyk(file: bytes) -> Pixels:
    """Only simplejpeg says whether a file is whole, and only OpenCV makes BGR of it; the check is at an eighth."""
    simplejpeg.decode_jpeg(file, "CMYK", min_width=1, min_height=1)
    return _with_opencv(file)


def _with_opencv(file: bytes) -> Pixels:
    return decode_with_opencv(file, "JPEG")


def _damaged(words: str) -> MalformedBody:
    return MalformedBody(f"image: the JPEG is damaged ({words}); send a whole JPEG file")
