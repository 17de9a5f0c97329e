"""Inference by the Open Inference Protocol: its bodies and its answers, for each model."""

import re
from collections.abc import Mapping
from typing import Any

from service.engines import EngineInfo
from service.openapi.shapes import record, ref, said
from service.pictures.kinds import TAKEN
from service.protocols.native.parameters import query_parameters
from service.protocols.native.query import LONGEST_TIMEOUT_MS
from service.protocols.native.routes import max_files
from service.protocols.oip.models import IGNORED, VERSION, Model
from service.protocols.oip.openapi_samples import PICTURES, example_infer_request
from service.protocols.oip.request import MAX_NAME
from service.protocols.oip.routes import HEADER_LENGTH
from service.protocols.oip.tensors import MAX_JSON_NUMBERS
from service.settings import Settings

Json = dict[str, Any]

SHAPE_SIDE: Json = {"type": "integer", "minimum": 0}
BASE64_PICTURE: Json = {"type": "string", "format": "byte", "description": f"The base64 of a {TAKEN} file."}
SPECIAL = re.compile(r"[\\^$.*+?()\[\]{}|/]")


def schema_name(model: Model, what: str) -> str:
    """The name of a model's own schema."""
    return f"Oip{model.name.capitalize()}{what}"


def infer_body(model: Model, settings: Settings, info: EngineInfo) -> Json:
    """The body of an inference request, in JSON and with the binary tensor data extension."""
    example = {"example": example_infer_request()} if model.name == PICTURES else {}
    binary = {
        "type": "string",
        "format": "binary",
        "maxLength": settings.max_body_bytes,
        "description": (
            f"The same JSON with `binary_data_size` in its input's `parameters` in the place of `data`, and behind it "
            f"the values: little-endian, row by row; BYTES are a 4-byte length and the bytes. `{HEADER_LENGTH}` says "
            "how many bytes are JSON."
        ),
    }
    return {
        "description": (
            f"An inference request, whatever its Content-Type says. At most {settings.max_body_bytes:,} bytes in all; "
            f"it may be compressed (`Content-Encoding: gzip` or `deflate`), and that many bytes it may then hold. "
            f"{_takes(model, settings, info)}"
        ),
        "required": True,
        "content": {
            "application/json": {"schema": ref(schema_name(model, "Request")), **example},
            "application/octet-stream": {"schema": binary},
        },
    }


def infer_request(model: Model, settings: Settings, info: EngineInfo) -> Json:
    """An inference request in JSON."""
    outputs = {
        "type": "array",
        "description": "The outputs to send, in this order, each once; all where absent.",
        "maxItems": len(model.outputs),
        "items": {
            **record(
                "One output.",
                {
                    "name": {"type": "string", "enum": [output.name for output in model.outputs]},
                    "parameters": _closed({"binary_data": {"type": "boolean", "description": "Whether as bytes."}}),
                },
            ),
            "required": ["name"],
        },
    }
    members = {
        "id": {"type": "string", "maxLength": MAX_NAME, "nullable": True, "description": "The answer repeats it."},
        "inputs": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1,
            "description": "The one input.",
            "items": ref(schema_name(model, "Input")),
        },
        "parameters": said(_closed(_parameters(model, settings, info)), "How it is to be answered."),
        "outputs": outputs,
    }
    return {**record(f"What `{model.name}` is asked.", members), "required": ["inputs"]}


def infer_input(model: Model, settings: Settings, info: EngineInfo) -> Json:
    """The input of a request in JSON."""
    return record(f"The input of `{model.name}`. {_takes(model, settings, info)}", _input(model, settings, info))


def infer_output(model: Model) -> Json:
    """One output of an answer in JSON."""
    kinds = [{"type": "number"}] + [{"type": "string"}] * any(one.datatype == "BYTES" for one in model.outputs)
    return record(
        f"An output of `{model.name}`.",
        {
            "name": {"type": "string", "enum": [output.name for output in model.outputs]},
            "datatype": {"type": "string", "enum": sorted({output.datatype for output in model.outputs})},
            "shape": {"type": "array", "minItems": 1, "items": SHAPE_SIDE},
            "data": {
                "type": "array",
                "description": "Its values, row by row in one flat list.",
                "items": kinds[0] if len(kinds) == 1 else {"anyOf": kinds},
            },
        },
    )


def infer_answer(model: Model, info: EngineInfo) -> Json:
    """What the model answers, in JSON."""
    outputs = {
        "type": "array",
        "minItems": 1,
        "maxItems": len(model.outputs),
        "items": ref(schema_name(model, "Output")),
    }
    members = {
        "model_name": {"type": "string", "enum": [model.name]},
        "model_version": {"type": "string", "enum": [VERSION]},
        "id": {"type": "string", "maxLength": MAX_NAME, "description": "The request's, where it had one."},
        "outputs": said(outputs, "The ones asked for, else all."),
    }
    about = f"What `{model.name}` answers. {_gives(model, info)}"
    return {**record(about, members), "required": ["model_name", "model_version", "outputs"]}


def _takes(model: Model, settings: Settings, info: EngineInfo) -> str:
    most = max_files(settings)
    if model.name == PICTURES:
        return (
            f"The input is BYTES [n] or [n, 1], n from 1 to {most}: {TAKEN} files of at most "
            f"{settings.max_pixels:,} pixels and {settings.max_side:,} pixels along a side, or their base64."
        )
    height, width = info.input_size
    return (
        f"The input is FP32 [n, 3, {height}, {width}], RGB from 0 to 1, or UINT8 [n, {height}, {width}, 3], BGR, "
        f"letterboxed, n from 1 to {most}. JSON may hold {MAX_JSON_NUMBERS:,} numbers."
    )


def _gives(model: Model, info: EngineInfo) -> str:
    if model.name == PICTURES:
        return (
            "For n pictures of which the fullest has k boxes: `count` [n]; `boxes` [n, k, 4] x1, y1, x2, y2 in pixels "
            "of the picture; `scores`, `classes` and `labels` [n, k]. Best first; the other pictures' are padded with "
            "zeros and empty labels."
        )
    width = 5 + len(info.classes)
    return (
        f"For n frames `output0` is [n, k, {width}]: cx, cy, w, h in pixels of the input, objectness, and a score for "
        "each class, as YOLOv5's own NMS reads it; rows of padding are zeros."
    )


def _input(model: Model, settings: Settings, info: EngineInfo) -> Json:
    height, width = info.input_size
    if model.name == PICTURES:
        datatypes, rank, sides = ["BYTES"], (1, 2), max_files(settings)
        data: Json = {
            "type": "array",
            "description": "Pictures; nested lists are taken, too.",
            "minItems": 1,
            "maxItems": sides,
            "items": BASE64_PICTURE,
        }
    else:
        datatypes, rank, sides = ["FP32", "UINT8"], (4, 4), max(max_files(settings), height, width)
        numbers = {"type": "number", "minimum": 0, "maximum": 255}
        data = {
            "type": "array",
            "description": "From 0 to 1 for FP32, whole numbers to 255 for UINT8; nested lists are taken, too.",
            "minItems": 1,
            "items": numbers,
        }
    return {
        "name": {"type": "string", "enum": [model.input.name]},
        "datatype": {"type": "string", "enum": datatypes},
        "shape": {
            "type": "array",
            "minItems": rank[0],
            "maxItems": rank[1],
            "items": {"type": "integer", "minimum": 1, "maximum": max(sides, 3)},
        },
        "data": data,
    }


def _parameters(model: Model, settings: Settings, info: EngineInfo) -> Json:
    """The protocol's own, and those of `/v1/detect`'s query for the model that makes boxes."""
    own: Json = {}
    if model.name == PICTURES:
        for given in query_parameters(settings, info.classes):
            shape = _listed(given["schema"]["items"]["enum"]) if given["name"] == "classes" else given["schema"]
            own[given["name"]] = said(shape, given["description"])
    return {
        **own,
        "timeout": {
            "type": "integer",
            "minimum": 0,
            "maximum": LONGEST_TIMEOUT_MS * 1000,
            "description": "Microseconds until nobody wants the answer any more; 0 leaves it to the instance.",
        },
        "binary_data_output": {
            "type": "boolean",
            "default": False,
            "description": "Whether outputs that are not asked for by name come as bytes.",
        },
        **{name: {"description": "Taken, and of no effect here."} for name in sorted(IGNORED)},
    }


def _listed(words: list[str]) -> Json:
    """Words with commas between them, in one text; JSON Schema's patterns know fewer escapes than Python's."""
    either = "|".join(SPECIAL.sub(r"\\\g<0>", word) for word in words)
    return {"type": "string", "pattern": f"^({either})(,({either}))*$"}


def _closed(properties: Mapping[str, Json]) -> Json:
    return {"type": "object", "properties": dict(properties), "additionalProperties": False}
