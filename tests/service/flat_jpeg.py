"""Writes JPEG files of one colour, in every shape that the standard allows and no encoder at hand writes."""

import math
import struct
from collections.abc import Iterator, Sequence

Factors = Sequence[tuple[int, int]]
Y, CB, CR = 90, 150, 60  # what `COLOUR` is as BGR
COLOUR = (129, 129, 0)

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
DC_LENGTHS, AC_LENGTHS = [0, 0, 0, 12] + [0] * 12, [1] + [0] * 15  # all DC codes have 4 bits, the end of a block has 1


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def tables() -> bytes:
    quantizers = segment(0xDB, b"\0" + bytes([8] * 64))
    dc, ac = b"\0" + bytes(DC_LENGTHS) + bytes(range(12)), b"\x10" + bytes(AC_LENGTHS) + b"\0"
    return quantizers + segment(0xC4, dc) + segment(0xC4, ac)


def frame(width: int, height: int, factors: Factors, marker: int = 0xC0, bits: int = 8) -> bytes:
    components = b"".join(bytes([number + 1, h << 4 | v, 0]) for number, (h, v) in enumerate(factors))
    return segment(marker, struct.pack(">BHHB", bits, height, width, len(factors)) + components)


def scan_head(components: Sequence[int], spectrum: bytes = b"\0\x3f\0") -> bytes:
    chosen = b"".join(bytes([number + 1, 0]) for number in components)
    return segment(0xDA, bytes([len(components)]) + chosen + spectrum)


def interleaved(width: int, height: int, factors: Factors, levels: Sequence[int], restart: int = 0) -> bytes:
    """The data of one scan with all components; with restart markers behind every `restart` MCUs."""
    mcus = math.ceil(width / 8 / max(h for h, _ in factors)) * math.ceil(height / 8 / max(v for _, v in factors))
    blocks = [number for number, (h, v) in enumerate(factors) for _ in range(h * v)]
    step = restart or mcus
    intervals = [
        data([levels[number] for number in blocks], blocks, min(step, mcus - at)) for at in range(0, mcus, step)
    ]
    return b"".join(
        interval + (bytes([0xFF, 0xD0 + number % 8]) if number < len(intervals) - 1 else b"")
        for number, interval in enumerate(intervals)
    )


def data(levels: Sequence[int], blocks: Sequence[int], mcus: int) -> bytes:
    bits = "".join(_codes(levels, blocks, mcus))
    bits += "1" * (-len(bits) % 8)
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")


def _codes(levels: Sequence[int], blocks: Sequence[int], mcus: int) -> Iterator[str]:
    before: dict[int, int] = {}
    for _ in range(mcus):
        for number, level in zip(blocks, levels, strict=True):
            yield _difference(level - 128 - before.get(number, 0)) + "0"
            before[number] = level - 128


def _difference(value: int) -> str:
    size = abs(value).bit_length()
    bits = format(value if value > 0 else value + (1 << size) - 1, f"0{size}b") if size else ""
    return format(size, "04b") + bits


def flat_jpeg(factors: Factors, width: int = 50, height: int = 37, restart: int = 0) -> bytes:
    """A baseline JPEG of `COLOUR`, or grey if it has one component."""
    components = range(len(factors))
    interval = segment(0xDD, struct.pack(">H", restart)) if restart else b""
    head = SOI + tables() + frame(width, height, factors) + interval + scan_head(components)
    return head + interleaved(width, height, factors, (Y, CB, CR), restart) + EOI
