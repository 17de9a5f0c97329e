"""Whatever a body holds, it becomes a frame or a form within the limits, or one of our own errors."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import RequestError
from service.pictures.body import decode
from service.pictures.form import MAX_FIELD_BYTES, MAX_FORM_PARTS, MAX_NAME_CHARACTERS, Form, read_form
from service.pictures.image import Frame, ImageLimits
from tests.fuzz.inputs import corpus, damaged, fuzz

LIMITS = ImageLimits(max_pixels=10_000, max_side=500)
SHRINKING = ImageLimits(max_pixels=10_000, max_side=500, shrink_to=(4, 4))
MAX_FILES = 3
SAMPLES = [path.read_bytes() for path in corpus("body")]
TOKENS = [
    *(
        b"\xff\xd8\xff",
        b"\xff\xd9",
        b"\xff\xda",
        b"\xff\xc0\0\x11\x08\xff\xff\xff\xff\x03",
        b"\xff\xfe\0\x02",
        b"\xff\xdd\0\x04\0\0",
        b"\xff\xdc\0\x04\0\x09",
        b"\xff\xd0",
        b"\xff\xd1",
        b"\xff\xc4",
        b"\xff\xe1\0\x09",
        b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\2",
    ),
    *(b"RIFF", b"WEBP", b"VP8 ", b"VP8L", b"VP8X", b"ANMF", b"\x9d\x01\x2a", b"BM", b"\x28\0\0\0", b"\x0c\0\0\0"),
    *(b"\x89PNG\r\n\x1a\n", b"IHDR", b"IDAT", b"IEND\xaeB`\x82", b"acTL", b"fcTL", b"\0\0\0\0", b"\x7f\xff\xff\xff"),
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b"\\",
        b"\\u0000",
        b"null",
        b"-1",
        b"1e999",
        b"99999999999999999999",
        b'"image":',
        b'"width":',
    ),
    *(
        b"--xyz",
        b"--xyz--",
        b"--xyz\r\n",
        b"\r\n\r\n",
        b"\n\n",
        b"\r",
        b"Content-Disposition: form-data; ",
        b'name="',
        b"filename*=utf-8''%",
        b"\r\nContent-Type: multipart/mixed; boundary=xyz",
        b"Content-Transfer-Encoding: base64\r\n",
        b'name="_charset_"',
        b";",
        b"=",
    ),
]
bodies = damaged(SAMPLES, TOKENS) | st.binary(max_size=200)


def check_decode(body: bytes, limits: ImageLimits) -> None:
    try:
        frame = decode(body, limits)
    except RequestError as error:
        assert str(error)
        return
    assert isinstance(frame, Frame) and frame.pixels.dtype == np.uint8
    assert 1 <= frame.width <= limits.max_side and 1 <= frame.height <= limits.max_side
    assert frame.width * frame.height <= limits.max_pixels
    height, width, channels = frame.pixels.shape
    assert channels == 3 and 1 <= width <= frame.width and 1 <= height <= frame.height
    assert limits.shrink_to or (height, width) == (frame.height, frame.width)


def check_form(body: bytes, content_type: str = "") -> None:
    try:
        form = read_form(body, content_type, MAX_FILES)
    except RequestError as error:
        assert str(error)
        return
    assert isinstance(form, Form) and 1 <= len(form.files) <= MAX_FILES
    assert len(form.files) + len(form.texts) <= MAX_FORM_PARTS
    assert sum(len(upload.data) for upload in form.files) <= len(body)
    for upload in form.files:
        upload.name.encode()  # else it could not be answered as JSON
        assert len(upload.name) <= MAX_NAME_CHARACTERS
    for name, text in form.texts.items():
        assert len(name) <= MAX_NAME_CHARACTERS and len(text) <= MAX_FIELD_BYTES


def check(body: bytes) -> None:
    check_decode(body, LIMITS)
    check_decode(body, SHRINKING)
    check_form(body)
    check_form(body, "multipart/form-data; boundary=xyz")


@pytest.mark.parametrize("path", corpus("body"), ids=lambda path: path.name)
def test_the_corpus(path: Path) -> None:
    check(path.read_bytes())


@fuzz(4)
@given(body=bodies)
def test_damaged_bodies(body: bytes) -> None:
    check(body)


@fuzz()
@given(body=bodies, field=st.text(max_size=20), boundary=st.binary(max_size=210))
def test_damaged_files_inside_of_forms(body: bytes, field: str, boundary: bytes) -> None:
    head = b'\r\nContent-Disposition: form-data; name="%b"; filename="a"\r\n\r\n' % field.encode("utf-8", "replace")
    form = b"--" + boundary + head + body + b"\r\n--" + boundary + b"--\r\n"
    check_form(form)
    check_form(b"a preamble\r\n" + form, f'multipart/form-data; boundary="{boundary.decode("latin-1")}"')


@fuzz()
@given(
    height=st.integers(-1, 600) | st.integers() | st.floats() | st.none(),
    width=st.integers(-1, 600) | st.integers(),
    excess=st.integers(-2, 2),
)
def test_frames_whose_sides_and_bytes_disagree(height: float | None, width: int, excess: int) -> None:
    honest = isinstance(height, int) and 0 < height * width < 1000
    size = max(0, 3 * height * width + excess) if honest and height is not None else 12
    image = b"A" * (4 * math.ceil(size / 3))
    check_decode(b'{"height": %b, "width": %d, "image": "%b"}' % (repr(height).encode(), width, image), LIMITS)
