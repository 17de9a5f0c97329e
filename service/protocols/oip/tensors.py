"""Turns tensors on the wire into pictures and frames, and arrays into tensors on the wire.

The binary form is the binary tensor data extension's: little-endian, row-major; BYTES elements are a 4-byte length and
the bytes. The JSON form is flat or nested lists. Sizes are compared with the shape before values are read.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import pybase64

from service.errors import BodyTooLarge, InvalidValue, MalformedBody, UnsupportedBody
from service.pictures.kinds import TAKEN, named
from service.pictures.picture import is_picture
from service.pipeline.batch_queue import Slot
from service.protocols.oip.request import InputTensor

LENGTH_BYTES = 4
# As many characters of base64, in which JSON carries pictures, show what they are.
BASE64_HEAD = 64
# A number read from JSON takes some 32 bytes; a tensor in JSON is for trying things out.
MAX_JSON_NUMBERS = 4_000_000
# A character that no base64 has, of which one makes four times as much of a text.
_NO_ASCII = re.compile(rb"\\u(?!00[0-7])")
Datatype = Literal["INT32", "FP32", "BYTES"]
Fill = Callable[[Slot], None]
Numbers = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """One output: numbers of `datatype` FP32 or INT32, or BYTES (an array of str)."""

    name: str
    datatype: Datatype
    values: npt.NDArray[Any]

    def to_json(self) -> list[Any]:
        """The values, flat: some clients read no nested lists."""
        flat: list[Any] = self.values.ravel().tolist()
        return flat

    def to_bytes(self) -> bytes:
        """The values in binary form."""
        if self.datatype != "BYTES":
            return self.values.astype(self.values.dtype.newbyteorder("<"), copy=False).tobytes()
        elements = [text.encode() for text in self.values.ravel().tolist()]
        return b"".join(len(element).to_bytes(LENGTH_BYTES, "little") + element for element in elements)


def read_pictures(tensor: InputTensor, most: int) -> list[bytes | memoryview]:
    """Reads a BYTES tensor of shape [n] or [n, 1]: picture files, or the base64 of such files.

    Args:
        tensor: the input.
        most: elements at most.

    Returns:
        n JPEG, PNG, WebP or BMP files, by their first bytes; they are not decoded.

    Raises:
        InvalidValue: another type or shape, too many elements, or an element that is no picture.
        UnsupportedBody: an element of a kind that is known, but not taken.
        MalformedBody: the data does not match the shape, or is no base64.
    """
    if tensor.datatype != "BYTES":
        raise InvalidValue(f"input {tensor.name!r}: datatype {tensor.datatype!r}; send BYTES")
    if len(tensor.shape) > 2 or tensor.shape[1:] not in ((), (1,)) or not 1 <= tensor.shape[0] <= most:  # noqa: PLR2004
        raise InvalidValue(
            f"input {tensor.name!r}: shape {_shape(tensor.shape)}; send [n] or [n, 1] with n from 1 to {most} pictures"
        )
    elements = _binary_elements(tensor) if tensor.binary else _json_texts(tensor)
    return [_picture(element, index) for index, element in enumerate(elements)]


def read_frames(tensor: InputTensor, input_size: tuple[int, int], most: int) -> list[Fill]:
    """Reads letterboxed frames: FP32 [n, 3, h, w] RGB from 0 to 1, or UINT8 [n, h, w, 3] BGR.

    Args:
        tensor: the input.
        input_size: the model's h, w in pixels.
        most: frames at most.

    Returns:
        For each frame what writes it into a slot, uint8 [h, w, 3] BGR; FP32 is rounded to the 256 levels it came from.

    Raises:
        InvalidValue: another type or shape, too many frames, or values out of range.
        MalformedBody: the data does not match the shape.
        BodyTooLarge: more numbers than are read from JSON.
    """
    height, width = input_size
    kinds = {"FP32": (3, height, width), "UINT8": (height, width, 3)}
    if tensor.datatype not in kinds:
        raise InvalidValue(f"input {tensor.name!r}: datatype {tensor.datatype!r}; send FP32 or UINT8")
    if tensor.shape[1:] != kinds[tensor.datatype] or not 1 <= tensor.shape[0] <= most:
        raise InvalidValue(
            f"input {tensor.name!r}: shape {_shape(tensor.shape)}; {tensor.datatype} is sent as "
            f"{_shape(('n', *kinds[tensor.datatype]))} with n from 1 to {most}"
        )
    numbers = _binary_numbers(tensor) if tensor.binary else _json_numbers(tensor)
    if tensor.datatype == "UINT8":
        return [_copy(frame) for frame in numbers]
    if not (numbers.min() >= 0 and numbers.max() <= 1):  # also refuses nan
        raise InvalidValue(f"input {tensor.name!r}: values outside 0 to 1; send RGB divided by 255")
    return [_levels(frame) for frame in numbers]


def _copy(frame: Numbers) -> Fill:
    return lambda slot: np.copyto(slot, frame)


def _levels(frame: Numbers) -> Fill:
    def fill(slot: Slot) -> None:
        np.copyto(slot, np.rint(frame[::-1] * 255).transpose(1, 2, 0), casting="unsafe")

    return fill


def _picture(element: bytes, index: int) -> bytes:
    element = element.lstrip()
    if is_picture(element):
        return element
    head = _decoded_head(element)
    if not is_picture(head):
        if refusal := named(element) or named(head):
            raise UnsupportedBody(f"data[{index}]: {refusal}")
        raise InvalidValue(f"data[{index}]: neither a {TAKEN} file nor the base64 of one; send one of those")
    try:
        return pybase64.b64decode(element, validate=True)
    except ValueError as error:
        raise MalformedBody(f"data[{index}]: starts like a picture's base64 but is none ({error})") from None


def _decoded_head(element: bytes) -> bytes:
    try:
        return pybase64.b64decode(element[:BASE64_HEAD])
    except ValueError:
        return b""


def _binary_elements(tensor: InputTensor) -> list[bytes]:
    found: list[bytes] = []
    rest = tensor.data
    while rest and len(found) < tensor.shape[0]:
        length = int.from_bytes(rest[:LENGTH_BYTES], "little")
        if len(rest) < LENGTH_BYTES + length:
            raise MalformedBody(f"data[{len(found)}]: it says {length} bytes, but the tensor ends before")
        found.append(bytes(rest[LENGTH_BYTES : LENGTH_BYTES + length]))
        rest = rest[LENGTH_BYTES + length :]
    if rest or len(found) != tensor.shape[0]:
        raise MalformedBody(
            f"input {tensor.name!r}: its bytes are not {tensor.shape[0]} elements, each a 4-byte length and its bytes"
        )
    return found


def _binary_numbers(tensor: InputTensor) -> Numbers:
    dtype = np.dtype("<f4" if tensor.datatype == "FP32" else "u1")
    if len(tensor.data) != math.prod(tensor.shape) * dtype.itemsize:
        raise MalformedBody(
            f"input {tensor.name!r}: {len(tensor.data)} bytes, but shape {_shape(tensor.shape)} of {tensor.datatype} "
            f"takes {math.prod(tensor.shape) * dtype.itemsize}"
        )
    return np.frombuffer(tensor.data, dtype).reshape(tensor.shape)


def _json_texts(tensor: InputTensor) -> list[bytes]:
    # Base64 has no commas, so there is one less of them than of pictures.
    return [text.encode() for text in _json_values(tensor, str, object).ravel().tolist()]


def _json_numbers(tensor: InputTensor) -> Numbers:
    if math.prod(tensor.shape) > MAX_JSON_NUMBERS:
        raise BodyTooLarge(
            f"input {tensor.name!r}: {math.prod(tensor.shape)} numbers, at most {MAX_JSON_NUMBERS} are read from JSON; "
            "send them as binary data"
        )
    if tensor.datatype == "FP32":
        return _json_values(tensor, float, np.float64)
    return _json_values(tensor, Annotated[int, msgspec.Meta(ge=0, le=255)], np.uint8)


def _json_values(tensor: InputTensor, kind: Any, dtype: npt.DTypeLike) -> Numbers:
    """Reads a flat or nested list; its commas are counted first, so that no longer list is ever built."""
    text = bytes(tensor.data)
    head = text[:256].translate(None, b" \t\r\n")
    depth = len(head) - len(head.lstrip(b"["))
    if depth not in (1, len(tensor.shape)) or text.count(b",") != math.prod(tensor.shape) - 1:
        raise _mismatch(tensor)
    if kind is str and not (text.isascii() and (b"\\" not in text or not _NO_ASCII.search(text))):
        raise InvalidValue(f"input {tensor.name!r}: data: not the base64 of {TAKEN} files; send those")
    nested = kind
    for _ in range(depth):
        nested = list[nested]  # type: ignore[valid-type]  # mypy sees no type in a variable
    try:
        values = np.array(msgspec.json.decode(text, type=nested), dtype)
    except msgspec.ValidationError as error:
        raise InvalidValue(f"input {tensor.name!r}: data: {error}") from None
    except (msgspec.DecodeError, ValueError):  # lists of unequal length, or bytes that are no UTF-8
        raise _mismatch(tensor) from None
    if values.shape not in (tensor.shape, (math.prod(tensor.shape),)):
        raise _mismatch(tensor)
    return values.reshape(tensor.shape)


def _mismatch(tensor: InputTensor) -> MalformedBody:
    return MalformedBody(
        f"input {tensor.name!r}: data is not a list of {math.prod(tensor.shape)} values, flat or nested like shape "
        f"{_shape(tensor.shape)}"
    )


def _shape(shape: Sequence[object]) -> str:
    return "[" + ", ".join(str(side) for side in shape) + "]"
