"""Takes a JPEG file apart, and puts together again what makes up its pixels, and nothing else.

Thumbnails, colour profiles, texts, what stands between segments and what follows the end of the picture (films of
motion photos, raw data of cameras) play no part here, but a decoder counts, warns of or trips over them. It sees the
file that `Jpeg.file` writes: whole segments alone, one behind the other, so that it reads them as they were read here.

`end_of_data`: finds where the data of a JPEG's scan ends.

`UsualJpeg`, `usual_jpeg`: tells the usual JPEG file, which decoders read as it came, by its head and the end of its
data.

Usual is what cameras and most programs write: baseline, whole segments one behind the other, and one scan of all
components with the end of the picture behind it. Of what stands in its other segments libjpeg reads as much as
`Jpeg` does, or warns.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np

from service.errors import ImageTooLarge, MalformedBody, UnsupportedBody

JPEG_MAGIC = b"\xff\xd8"
# Each scan goes over the whole picture, and takes 10 bytes to send. Progressive files have about 10.
MAX_JPEG_SCANS = 100
MAX_JPEG_SEGMENTS = 16_384
# Tables are copied, each in front of its scan. A scan needs some 500 bytes of them.
MAX_TABLE_BYTES = 2**20
END = b"\xff\xd9"
_LENGTH_BYTES = 2
_SEARCHED_BYTES = 2**18
# The last of any fill bytes, and a marker that means something there. Two bytes: longer patterns take quadratic time.
_NEXT_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
_SOF, _SEQUENTIAL = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA), (0xC0, 0xC1, 0xC9)
_BASELINE, _ARITHMETIC = (0xC0, 0xC1), (0xC9, 0xCA)
_DHT, _DAC, _EOI, _SOS, _DQT, _DNL, _DRI = 0xC4, 0xCC, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD
_APP0, _APP14, _APP15, _COM = 0xE0, 0xEE, 0xEF, 0xFE
_TABLES = (_DHT, _DAC, _DQT, _DRI)
_TAKEN = (*_SOF, *_TABLES, _SOS, _DNL, *range(_APP0, _APP15 + 1), _COM)
_OTHER_JPEGS = {
    **dict.fromkeys((0xC3, 0xCB), "a lossless JPEG (SOF3)"),
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF, 0xDE, 0xDF), "a hierarchical JPEG"),
    0xF7: "JPEG-LS",
}
_JFIF = b"\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"

# The usual file, which decoders read as it came.
MAX_HEAD_SEGMENTS = 256
MAX_HEAD_BYTES = MAX_TABLE_BYTES
_FRAMES, _SCAN = (0xC0, 0xC1), 0xDA
# Tables, and what programs put in for themselves.
_OTHERS = frozenset((0xC4, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE))
_SEGMENT = struct.Struct(">BBH")  # a marker, and its segment's length but for the marker
_FRAME = struct.Struct(">BHHB")  # bits, height, width, components
_USUAL_BITS = 8
_USUAL_COLOURS = (1, 3)
# Of the first component; the others are sampled once.
_SAMPLINGS = (0x11, 0x21, 0x12, 0x22)
_USUAL_SCAN = b"\0\x3f\0"
# Of them, whatever their bytes, little else is held; other threads have their turn meanwhile.
_SEARCHED_AT_ONCE = 2**16
_MARKER = 0xFF
# Behind a marker's first byte these belong to the data: a stuffed zero, restarts, and another first byte.
_ENDS = np.ones(256, np.bool_)
_ENDS[[0, *range(0xD0, 0xD8), _MARKER]] = False
_ADOBE = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0"
_BITS = 8
_COEFFICIENTS = 64
_BLOCK, _MOST = 8, 0xFFFF
_COLOURS = (1, 3, 4)
_CMYK = 4
_WHOLE_BLOCK = b"\0\x3f\0"  # coefficients 0 to 63 in one go: all that a sequential file's scan can mean


@dataclass(frozen=True, slots=True)
class UsualJpeg:
    """A usual file: its `width` and `height` in pixels, and the `file` up to the end of its picture."""

    width: int
    height: int
    file: memoryview


@dataclass(frozen=True, slots=True)
class Scan:
    """One scan: its `head`, which is the tables sent before it and its SOS segment, and its entropy-coded `data`.

    The data stays where it is in the body: no second body is held while the request waits for memory.
    """

    head: bytes
    data: bytes | memoryview


@dataclass(frozen=True, slots=True)
class Jpeg:
    """A JPEG file taken apart.

    `width`, `height` in pixels; `components`: 1 is grey, 3 colour, 4 CMYK; `baseline`: with Huffman's codes, and not
    progressive; `arithmetic`: with arithmetic codes; `samples`: values of all components per pixel, 3 without
    subsampling; `in_several_scans`: decoders hold every coefficient until the last one is read; `finished`: every
    coefficient is sent to its last bit, which progressive files may leave out; `start`: the file up to its tables.
    """

    width: int
    height: int
    components: int
    baseline: bool
    arithmetic: bool
    samples: float
    in_several_scans: bool
    finished: bool
    start: bytes
    scans: tuple[Scan, ...]

    def file(self, tails: tuple[bytes, ...] = (), end: bytes = END) -> bytes:
        """The file with what makes up its pixels alone.

        Args:
            tails: what to put behind each scan's data.
            end: what to end it with.
        """
        parts: list[bytes | memoryview] = [self.start]
        for number, scan in enumerate(self.scans):
            parts += (scan.head, scan.data)
            parts += tails[number : number + 1]
        return b"".join([*parts, end])

    def in_whole_blocks(self) -> "Jpeg":
        """The same file with its sides rounded up, so that it shows every pixel that was coded."""
        frame = len(self.start) - 10 - 3 * self.components
        factors = self.start[frame + 11 :: 3] if self.components > 1 else b"\x11"
        wide, high = _BLOCK * max(h >> 4 for h in factors), _BLOCK * max(v & 15 for v in factors)
        sides = -(-self.height // high) * high, -(-self.width // wide) * wide
        shown = b"".join(min(side, _MOST).to_bytes(2, "big") for side in sides)
        return replace(self, start=self.start[: frame + 5] + shown + self.start[frame + 9 :])

    def with_data(self, number: int, data: bytes) -> "Jpeg":
        """The same file with other data in one scan."""
        scans = list(self.scans)
        scans[number] = replace(scans[number], data=data)
        return replace(self, scans=tuple(scans))


def read_jpeg(body: bytes | memoryview) -> Jpeg:
    """Takes a JPEG file apart, up to the end of its picture.

    Args:
        body: a file that starts with `JPEG_MAGIC`; data and tables are left to the decoder.

    Raises:
        MalformedBody: it ends before its picture does, or its segments contradict one another.
        ImageTooLarge: it has more segments or scans than are read.
        UnsupportedBody: a JPEG of a kind that is not decoded here.
    """
    reader = _Reader(body)
    for _ in range(MAX_JPEG_SEGMENTS):
        marker = reader.next_marker()
        if marker == _EOI:
            return reader.finish()
        reader.take(marker)
    raise ImageTooLarge(f"image: the JPEG has over {MAX_JPEG_SEGMENTS} segments; save it anew")


@dataclass(slots=True)
class _Reader:
    """Where the reading stands: `at` is the next byte, `tables` wait for their scan.

    `uncoded` are the components without any data, `unfinished` the coefficients without their last bit; `interrupted`
    if something else than segments stands between scans.
    """

    body: bytes | memoryview
    at: int = len(JPEG_MAGIC)
    frame: bytes = b""  # the SOF segment, marker included
    height: int = 0
    jfif: bool = False
    transform: int | None = None  # of the colours, in Adobe's segment
    tables: list[bytes] = field(default_factory=list)
    scans: list[Scan] = field(default_factory=list)
    table_bytes: int = 0
    uncoded: set[int] = field(default_factory=set)
    unfinished: set[tuple[int, int]] = field(default_factory=set)
    interrupted: bool = False
    in_several_scans: bool = False

    def next_marker(self) -> int:
        """Steps behind the next marker, over whatever stands before it."""
        at = self._search()
        self.interrupted |= bool(self.scans) and bool(bytes(self.body[self.at : at]).strip(b"\xff"))
        self.at = at + 2
        return self.body[self.at - 1]

    def take(self, marker: int) -> None:
        """Reads the segment of a marker, and the data behind it if it has any."""
        if marker in _OTHER_JPEGS:
            raise not_taken(_OTHER_JPEGS[marker])
        if marker not in _TAKEN:
            raise _damaged(f"marker 0x{marker:02x}")
        length = max(_LENGTH_BYTES, int.from_bytes(self.body[self.at : self.at + _LENGTH_BYTES], "big"))
        begin, self.at = self.at, self.at + length
        if self.at > len(self.body):
            raise MalformedBody("image: the JPEG ends inside of a segment; send a whole JPEG file")
        segment = bytes(self.body[begin - 2 : self.at])
        if marker in _TABLES:
            self.table_bytes += length
            if self.table_bytes > MAX_TABLE_BYTES:
                raise ImageTooLarge(f"image: the JPEG has over {MAX_TABLE_BYTES} bytes of tables; save it anew")
            self.tables.append(segment)
        elif marker in _SOF:
            self._take_frame(segment)
        elif marker == _SOS:
            self._take_scan(segment)
        elif marker == _DNL:
            self.height = self.height or int.from_bytes(self.body[begin + 2 : begin + 4], "big")
        elif marker in (_APP0, _APP14) and not self.scans:
            self._take_colours(marker, segment[4:18])

    def _take_frame(self, frame: bytes) -> None:
        if self.frame:
            raise _damaged("a second frame header")
        if len(frame) < 10 or len(frame) != 10 + 3 * frame[9]:  # noqa: PLR2004 - marker, length, and as counted there
            raise _damaged("a frame header of the wrong length")
        if frame[4] != _BITS:
            raise not_taken(f"a {frame[4]}-bit JPEG")
        if frame[9] not in _COLOURS:
            raise not_taken(f"a JPEG of {frame[9]} colour channels")
        if _fractional([sides >> 4 for sides in frame[11::3]]) or _fractional([sides & 15 for sides in frame[11::3]]):
            raise not_taken("a JPEG whose colours are sampled at fractions of one another")
        self.frame = frame
        self.height = int.from_bytes(frame[5:7], "big")
        self.uncoded = set(frame[10::3])
        if frame[1] not in _SEQUENTIAL:
            self.unfinished = set(product(self.uncoded, range(_COEFFICIENTS)))

    def _take_scan(self, head: bytes) -> None:
        if not self.frame:
            raise _damaged("a scan before the frame header")
        if len(head) < 5 or len(head) != 8 + 2 * head[4]:  # noqa: PLR2004 - marker, length, and as counted there
            raise _damaged("a scan header of the wrong length")
        if len(self.scans) == MAX_JPEG_SCANS:
            raise ImageTooLarge(
                f"image: a JPEG of over {MAX_JPEG_SCANS} scans, which are not decoded; save it anew, not progressive"
            )
        if self.frame[1] in _SEQUENTIAL:
            head = head[:-3] + _WHOLE_BLOCK
        end = end_of_data(self.body, self.at)
        first, last, bits = head[-3:]
        self.uncoded -= set(head[5:-3:2])
        if self.unfinished and not bits & 15:
            self.unfinished -= set(product(head[5:-3:2], range(first, last + 1)))
        if not self.scans:
            self.in_several_scans = head[4] < self.frame[9] or self.frame[1] not in _SEQUENTIAL
        self.scans.append(Scan(b"".join([*self.tables, head]), memoryview(self.body)[self.at : end]))
        self.tables = []
        self.at = end

    def _search(self) -> int:
        """Where the next marker is; other threads have their turn while a long body is searched."""
        for at in range(self.at, len(self.body), _SEARCHED_BYTES):
            if found := _NEXT_MARKER.search(self.body, at, at + _SEARCHED_BYTES + 1):
                return found.start()
        raise MalformedBody("image: the JPEG ends before its end marker; send a whole JPEG file")

    def _take_colours(self, marker: int, segment: bytes) -> None:
        if marker == _APP0 and segment.startswith(b"JFIF\0") and len(segment) == 14:  # noqa: PLR2004 - as libjpeg
            self.jfif = True
        if marker == _APP14 and segment.startswith(b"Adobe") and len(segment) >= 12:  # noqa: PLR2004 - as libjpeg
            self.transform = segment[11]

    def finish(self) -> Jpeg:
        """What was read.

        Raises:
            MalformedBody: it is no whole picture.
        """
        if not self.scans:
            raise MalformedBody("image: the JPEG ends before its picture begins; send a whole JPEG file")
        if self.uncoded:
            raise MalformedBody("image: the JPEG ends before the last of its colours; send a whole JPEG file")
        if self.unfinished and self.interrupted:
            raise _damaged("its last scans are missing")
        frame = self.frame[:5] + self.height.to_bytes(2, "big") + self.frame[7:]
        start = b"".join([JPEG_MAGIC, *self._colours(frame[9]), frame])
        width = int.from_bytes(frame[7:9], "big")
        coding = frame[1]
        return Jpeg(
            width,
            self.height,
            frame[9],
            baseline=coding in _BASELINE,
            arithmetic=coding in _ARITHMETIC,
            samples=_samples(frame[11::3]),
            in_several_scans=self.in_several_scans,
            finished=not self.unfinished,
            start=start,
            scans=tuple(self.scans),
        )

    def _colours(self, components: int) -> Iterator[bytes]:
        """The two segments that say which colours the components are, as libjpeg takes them in any case."""
        if self.jfif:
            yield _JFIF
        if self.transform is not None:
            transformed = 2 if components == _CMYK else 1
            yield _ADOBE + bytes([transformed if self.transform else 0])


def not_taken(kind: str) -> UnsupportedBody:
    """The error of a JPEG that no decoder here reads."""
    return UnsupportedBody(f"body: {kind}, which is not taken; send a baseline or progressive JPEG of 8 bits, or a PNG")


def _samples(factors: bytes) -> float:
    """Values of all components per pixel; a lone one is never subsampled."""
    sides = [(factor >> 4, factor & 15) for factor in factors]
    most = max(wide for wide, _ in sides) * max(high for _, high in sides)
    return sum(wide * high for wide, high in sides) / most if most and len(sides) > 1 else len(sides)


def _fractional(sides: list[int]) -> bool:
    return all(sides) and any(max(sides) % side for side in sides)


def _damaged(what: str) -> MalformedBody:
    return MalformedBody(f"image: the JPEG is damaged ({what}); send a whole JPEG file")


def end_of_data(body: bytes | memoryview, begin: int) -> int:
    """Where the first marker stands that is no part of the data which begins there.

    Raises:
        MalformedBody: there is none.
    """
    values = np.frombuffer(body, np.uint8)
    for at in range(begin, len(values) - 1, _SEARCHED_AT_ONCE):
        firsts, seconds = values[at : at + _SEARCHED_AT_ONCE], values[at + 1 : at + 1 + _SEARCHED_AT_ONCE]
        markers = firsts[: len(seconds)] == _MARKER
        markers &= seconds != 0
        places = markers.nonzero()[0]
        ends = places[_ENDS[seconds[places]]]
        if ends.size:
            return at + int(ends[0])
    raise MalformedBody("image: the JPEG ends before its end marker; send a whole JPEG file")


def usual_jpeg(body: bytes | memoryview) -> UsualJpeg | None:
    """Knows a usual file; any other, whole or damaged, is None.

    Args:
        body: a file that starts with `JPEG_MAGIC`.

    Raises:
        MalformedBody: it begins as a usual one, and ends before its picture does.
    """
    at, frame = len(JPEG_MAGIC), b""
    for _ in range(MAX_HEAD_SEGMENTS):
        if at + _SEGMENT.size > min(len(body), MAX_HEAD_BYTES):
            break
        fill, marker, length = _SEGMENT.unpack_from(body, at)
        begin, at = at + _SEGMENT.size, at + 2 + length
        if fill != _MARKER or at < begin:
            break
        if marker == _SCAN:
            return _whole(frame, body, at) if _is_usual(frame, bytes(body[begin:at])) else None
        if marker in _FRAMES and not frame:
            frame = bytes(body[begin:at])
        elif marker not in _OTHERS:
            break
    return None


def _is_usual(frame: bytes, scan: bytes) -> bool:
    """Whether what follows the lengths of the two headers is known to every decoder, and fits together."""
    if len(frame) <= _FRAME.size:
        return False
    bits, height, width, count = _FRAME.unpack_from(frame)
    numbers, samplings = frame[_FRAME.size :: 3], frame[_FRAME.size + 1 :: 3]
    return (
        (bits, len(frame)) == (_USUAL_BITS, _FRAME.size + 3 * count)
        and count in _USUAL_COLOURS
        and samplings[0] in _SAMPLINGS
        and samplings[1:] == b"\x11" * (count - 1)
        and (scan[:1], scan[1:-3:2], scan[-3:]) == (bytes([count]), numbers, _USUAL_SCAN)
        and len(scan) == 4 + 2 * count
        and min(width, height) > 0
    )


def _whole(frame: bytes, body: bytes | memoryview, at: int) -> UsualJpeg | None:
    end = end_of_data(body, at)
    _, height, width, _ = _FRAME.unpack_from(frame)
    file = memoryview(body)[: end + len(END)]
    return UsualJpeg(width, height, file) if file[end:] == END else None
