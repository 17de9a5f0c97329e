"""What an attacker sends is within every limit and is what it is called, else the attack would prove nothing."""

import gzip

import pytest

from chaos.siege import attack
from service.pictures.body import decode
from service.pictures.form import read_form
from service.pictures.image import ImageLimits
from service.settings import Settings

SETTINGS = Settings()
LIMITS = ImageLimits(SETTINGS.max_pixels, SETTINGS.max_side)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_png_takes_as_many_pixels_as_are_allowed_in_little_room(bits: int) -> None:
    made = attack.png(bits)
    frame = decode(made, LIMITS)
    assert frame.width * frame.height == SETTINGS.max_pixels
    assert len(made) < 250_000


def test_a_jpeg_is_progressive_and_as_large() -> None:
    made = attack.progressive_jpeg()
    frame = decode(made, LIMITS)
    assert (frame.width * frame.height, made.count(b"\xff\xda") > 1) == (SETTINGS.max_pixels, True)


def test_a_form_holds_as_many_files_as_are_taken() -> None:
    form = read_form(attack.form((b"a", b"b")), f"multipart/form-data; boundary={attack.BOUNDARY}", SETTINGS.max_files)
    assert [upload.data for upload in form.files] == [b"a", b"b"] * (SETTINGS.max_files // 2)


def test_a_raw_frame_is_one_of_the_first_protocol() -> None:
    frame = decode(attack.raw_frame(), LIMITS)
    assert (frame.height, frame.width) == attack.FULL_HD


def test_a_packed_request_is_small_until_it_is_unpacked() -> None:
    made = attack.packed_outputs()
    unpacked = gzip.decompress(made)
    assert len(made) < 200_000 < 50 * 2**20 < len(unpacked) <= SETTINGS.max_body_bytes
    assert unpacked.endswith(b'{"name":"count"}]}')
