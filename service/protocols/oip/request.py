"""Reads the JSON and the binary part of an inference request, without looking into its tensor's values.

Nothing is allocated by a figure that the client names: the JSON is read into fields of known size, and the tensor's
values stay where they are in the body until the model has checked its shape.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, TypeVar

import msgspec

from service.errors import InvalidValue, MalformedBody
from service.pictures.json_depth import check_depth

MAX_SMALL_JSON_BYTES = 16_384  # parameters, outputs and shapes; the largest real ones have some hundred
MAX_RANK = 8
MAX_NAME = 256  # characters of a tensor's name or a request's id, which answers repeat
# Ways to hand over a tensor, or to ask for one, that would be wrong to pass over in silence.
UNSUPPORTED = ("shared_memory_region", "shared_memory_byte_size", "classification")
Kind = TypeVar("Kind")
Parameters = Mapping[str, object]
_Name = Annotated[str, msgspec.Meta(max_length=MAX_NAME)]


@dataclass(frozen=True, slots=True)
class InputTensor:
    """The one tensor of a request.

    `data` is its values: the bytes of the binary tensor extension where `binary`, else the text of a JSON array.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: memoryview
    binary: bool


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """One output the client asked for by `name`; `binary` says in which form."""

    name: str
    binary: bool


@dataclass(frozen=True, slots=True)
class InferRequest:
    """An inference request.

    `request_id` is None where the client gave none; `outputs` are the ones asked for, all where empty; `binary_output`
    is the form of outputs that are not asked for by name.
    """

    request_id: str | None
    parameters: Parameters
    tensor: InputTensor
    outputs: tuple[RequestedOutput, ...]
    binary_output: bool


class _Input(msgspec.Struct):
    """Every value stays text until its length was looked at."""

    name: msgspec.Raw
    datatype: msgspec.Raw
    shape: msgspec.Raw
    data: msgspec.Raw = msgspec.Raw(b"")
    parameters: msgspec.Raw = msgspec.Raw(b"{}")


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, object] = msgspec.field(default_factory=dict)


class _Request(msgspec.Struct):
    inputs: tuple[_Input]
    id: msgspec.Raw = msgspec.Raw(b"null")
    parameters: msgspec.Raw = msgspec.Raw(b"{}")
    outputs: msgspec.Raw = msgspec.Raw(b"[]")


def read_request(body: bytes | memoryview, header_length: str | None) -> InferRequest:
    """Takes a request apart.

    Args:
        body: the body, decompressed.
        header_length: the header `Inference-Header-Content-Length`: how many bytes of it are JSON; None for all.
            `Content-Type` is not asked: the protocol's own Python client sends none.

    Raises:
        MalformedBody: it breaks the protocol.
        InvalidValue: it asks for something this server does not do.
    """
    length = _json_length(header_length, len(body))
    text = body if length == len(body) else body[:length]
    check_depth(text, "request")
    request = _decode(text, _Request, "request")
    parameters = _small(request.parameters, dict[str, object], "parameters")
    binary_output = _flag(parameters, "binary_data_output", "parameters", default=False)
    outputs = _small(request.outputs, list[_Output], "outputs")
    return InferRequest(
        request_id=_small(request.id, _Name | None, "id"),  # type: ignore[arg-type]  # mypy sees no type in a union
        parameters={name: value for name, value in parameters.items() if name != "binary_data_output"},
        tensor=_tensor(request.inputs[0], memoryview(body)[length:]),
        outputs=tuple(_requested(output, binary_output) for output in outputs),
        binary_output=binary_output,
    )


def _json_length(header: str | None, available: int) -> int:
    if header is None:
        return available
    if not (header.isascii() and header.isdecimal() and len(header) < 20 and int(header) <= available):  # noqa: PLR2004
        raise MalformedBody(
            f"Inference-Header-Content-Length: {header[:40]!r} is no number of bytes from 0 to the body's {available}"
        )
    return int(header)


def _tensor(given: _Input, binary: memoryview) -> InputTensor:
    parameters = _small(given.parameters, dict[str, object], "inputs[0].parameters")
    _refuse(parameters, "inputs[0].parameters")
    shape = _small(given.shape, list[Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]], "inputs[0].shape")
    if not 1 <= len(shape) <= MAX_RANK:
        raise MalformedBody(f"inputs[0].shape: {len(shape)} dimensions; give 1 to {MAX_RANK}")
    name, datatype = _small(given.name, _Name, "inputs[0].name"), _small(given.datatype, _Name, "inputs[0].datatype")
    size = parameters.get("binary_data_size")
    text = memoryview(given.data)
    if size is None and text and not binary:
        return InputTensor(name, datatype, tuple(shape), text, binary=False)
    if size is None:
        raise MalformedBody(
            f"inputs[0]: {'both data and bytes after the JSON' if text else 'no data'}; give either data, or "
            "parameters.binary_data_size with the bytes after the JSON and Inference-Header-Content-Length"
        )
    if text:
        raise MalformedBody("inputs[0]: both data and parameters.binary_data_size; give one of them")
    if type(size) is not int or size != len(binary):
        raise MalformedBody(
            f"inputs[0].parameters.binary_data_size: {str(size)[:40]}, but {len(binary)} bytes come after the JSON; "
            "check Inference-Header-Content-Length, too"
        )
    return InputTensor(name, datatype, tuple(shape), binary, binary=True)


def _requested(output: _Output, binary: bool) -> RequestedOutput:
    where = f"outputs {output.name[:40]!r}"
    _refuse(output.parameters, where)
    return RequestedOutput(output.name, _flag(output.parameters, "binary_data", where, default=binary))


def _refuse(parameters: Parameters, where: str) -> None:
    for name in UNSUPPORTED:
        if name in parameters:
            raise InvalidValue(f"{where}: {name} is not supported; send and ask for the values themselves")


def _flag(parameters: Parameters, name: str, where: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise MalformedBody(f"{where}: {name} is {str(value)[:40]}; it is either true or false")
    return value


def _small(text: msgspec.Raw, kind: type[Kind], where: str) -> Kind:
    if len(memoryview(text)) > MAX_SMALL_JSON_BYTES:
        raise MalformedBody(f"{where}: more than {MAX_SMALL_JSON_BYTES} bytes of JSON; send less")
    return _decode(text, kind, where)


def _decode(text: bytes | memoryview | msgspec.Raw, kind: type[Kind], where: str) -> Kind:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, ValueError) as error:  # also bytes that are no UTF-8
        raise MalformedBody(f"{where}: {error}; see the protocol's inference request") from None
