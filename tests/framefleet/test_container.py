import random
import struct
from pathlib import Path

import pytest

from framefleet.video import Container, look_at

CASES = Path("tests/cases")
FTYP = struct.pack(">I4s8s", 16, b"ftyp", b"isom\0\0\0\0")
EBML = b"\x1a\x45\xdf\xa3\x80"
SEGMENT = b"\x18\x53\x80\x67\x01" + b"\xff" * 7  # of unknown size
CLUSTER = b"\x1f\x43\xb6\x75\xff"
BUILT = {
    "empty": (b"", Container("other")),
    "text": (b"no video" * 40, Container("other")),
    "transport stream": ((b"G" + bytes(187)) * 3, Container("ts")),
    "boxes": (FTYP + struct.pack(">I4s", 8, b"moov"), Container("iso")),
    "box up to the end": (FTYP + struct.pack(">I4s", 0, b"mdat") + b"x" * 99, Container("iso")),
    "box of 64 bits": (FTYP + struct.pack(">I4sQ", 1, b"mdat", 20) + b"four", Container("iso")),
    "box of 64 bits, too short for itself": (FTYP + struct.pack(">I4sQ", 1, b"mdat", 3), Container("iso")),
    "box that is cut": (FTYP + struct.pack(">I4s", 99, b"mdat") + b"x", Container("iso", whole=False)),
    "box with a cut head": (FTYP + b"\0\0\0\x08mo", Container("iso", whole=False)),
    "zeros behind the boxes": (FTYP + bytes(500), Container("iso")),
    "recorded live": (EBML + SEGMENT + CLUSTER + b"\xa3\x84" + b"four", Container("matroska")),
    "cut in a block": (EBML + SEGMENT + CLUSTER + b"\xa3\x88" + b"four", Container("matroska", whole=False)),
    "no element": (EBML + SEGMENT + CLUSTER + b"\x00\x00", Container("matroska", whole=False)),
    "unknown element": (EBML + SEGMENT + b"\x81\x81x", Container("matroska", whole=False)),
    "parts": (b"RIFF\x0c\0\0\0AVI LIST\0\0\0\0" + b"RIFF\x04\0\0\0AVIX", Container("avi")),
    "never finished": (b"RIFF\0\0\0\0AVI LIST" + bytes(99), Container("avi")),
    "cut": (b"RIFF\xff\0\0\0AVI LIST\0\0\0\0", Container("avi", whole=False)),
}


@pytest.mark.parametrize(("content", "expected"), BUILT.values(), ids=BUILT)
def test_the_structure_of_a_file_is_followed(tmp_path: Path, content: bytes, expected: Container) -> None:
    path = tmp_path / "clip"
    path.write_bytes(content)
    assert look_at(path) == expected


def test_the_index_of_an_avi_counts_frames_that_are_there(tmp_path: Path) -> None:
    entry = struct.Struct("<4sIII").pack
    index = entry(b"00dc", 16, 4, 9) + entry(b"00dc", 0, 4, 0) + entry(b"01wb", 0, 4, 9) + entry(b"00db", 0, 4, 9)
    chunks = b"LIST" + struct.pack("<I", 5) + b"movix\0" + b"idx1" + struct.pack("<I", len(index)) + index
    path = tmp_path / "clip.avi"
    path.write_bytes(b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"AVI " + chunks)
    assert look_at(path) == Container("avi", indexed=2)


@pytest.mark.parametrize("content", [content for content, _ in BUILT.values()], ids=BUILT)
def test_no_damage_keeps_it_from_an_answer(tmp_path: Path, content: bytes) -> None:
    dice, path = random.Random(3), tmp_path / "clip"
    for _ in range(60):
        damaged = bytearray(content + dice.randbytes(dice.randrange(1, 40)))
        for _ in range(dice.randrange(4)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        path.write_bytes(damaged)
        assert isinstance(look_at(path), Container)
