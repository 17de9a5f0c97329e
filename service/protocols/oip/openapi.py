"""`/v2`, the Open Inference Protocol, in the OpenAPI document: each model's paths by its name.

The names, tensors, configurations and statistics are the routes' own: nothing of them is written down here again.

`oip_paths`, `oip_schemas`: the protocol's paths, and what they take and answer, by name.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace

import cv2
import msgspec
import numpy as np

from service.engines import EngineInfo
from service.openapi.examples import example_found, get_sample, python, shell
from service.openapi.headers import answered, headers
from service.openapi.problems import Failures
from service.openapi.shapes import Json, record, ref, said, schemas_of
from service.pictures.kinds import TAKEN
from service.protocols.native.openapi import header_parameters, query_parameters
from service.protocols.native.query import LONGEST_TIMEOUT_MS
from service.protocols.native.routes import max_files
from service.protocols.oip import answers
from service.protocols.oip.models import (
    IGNORED,
    Model,
    boxes_as_tensors,
    candidates_as_yolov5,
    config_of,
    make_models,
    metadata_of,
    platform,
)
from service.protocols.oip.request import MAX_NAME, InferRequest, InputTensor
from service.protocols.oip.routes import HEADER_LENGTH, oip_problem
from service.protocols.oip.stats import ModelStats
from service.protocols.oip.tensors import MAX_JSON_NUMBERS, OutputTensor
from service.settings import Settings

FAILURES = Failures("OipProblem", oip_problem)
INDEX = "The models there are, each with its version. A body is not read."
LISTENS = "An instance listens only while it can answer: a refused connection is the real answer no."
SUMMARIES = {
    "Metadata": "What does {name} take and give?",
    "Config": "How is {name} configured?",
    "Ready": "Does {name} answer?",
    "Stats": "How often and how long did {name} run?",
    "Infer": "Infer with {name} by the Open Inference Protocol",
}
VERSIONED = "Also below `/v2/models/{name}/versions/{version}`."
PICTURES = "detect"  # the model that takes picture files; the other one takes frames
EXAMPLE_ID = "42"
SHELL_PICTURES = """\
printf '{{"inputs": [{{"name": "image", "datatype": "BYTES", "shape": [1], "data": ["%s"]}}]}}' \\
  "$(base64 < picture.jpg | tr -d '\\n')" |
  curl --fail-with-body {url}/v2/models/{model}/infer --data-binary @-\
"""
PYTHON_PICTURES = """\
import json

import requests

with open("picture.jpg", "rb") as file:
    picture = file.read()
data = len(picture).to_bytes(4, "little") + picture
tensor = {{"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {{"binary_data_size": len(data)}}}}
head = json.dumps({{"inputs": [tensor], "parameters": {{"conf": 0.5}}}}).encode()
headers = {{"{header}": str(len(head))}}
answer = requests.post("{url}/v2/models/{model}/infer", data=head + data, headers=headers, timeout=10)
answer.raise_for_status()
for output in answer.json()["outputs"]:
    print(output["name"], output["shape"], output["data"])
"""
PYTHON_FRAMES = """\
import json

import cv2, numpy, requests

picture = cv2.imread("picture.jpg")
scale = min({height} / picture.shape[0], {width} / picture.shape[1])
scaled = cv2.resize(picture, None, fx=scale, fy=scale)[:{height}, :{width}]
frame = numpy.full(({height}, {width}, 3), 114, numpy.uint8)
frame[: scaled.shape[0], : scaled.shape[1]] = scaled
images = (frame[:, :, ::-1].transpose(2, 0, 1)[None] / 255).astype("<f4")
data = images.tobytes()
tensor = {{
    "name": "images", "datatype": "FP32", "shape": images.shape, "parameters": {{"binary_data_size": len(data)}}
}}
head = json.dumps({{"inputs": [tensor], "parameters": {{"binary_data_output": True}}}}).encode()
headers = {{"{header}": str(len(head))}}
answer = requests.post("{url}/v2/models/{model}/infer", data=head + data, headers=headers, timeout=10)
answer.raise_for_status()
length = int(answer.headers["{header}"])
shape = json.loads(answer.content[:length])["outputs"][0]["shape"]
print(numpy.frombuffer(answer.content[length:], "<f4").reshape(shape))
"""
BASE64_PICTURE: Json = {"type": "string", "format": "byte", "description": f"The base64 of a {TAKEN} file."}
SPECIAL = re.compile(r"[\\^$.*+?()\[\]{}|/]")


@dataclass(frozen=True, slots=True)
class _Get:
    """One GET: its `path`, its operation's name and summary, and the `schema` and example of its answer."""

    path: str
    name: str
    summary: str
    description: str
    schema: str
    example: object


def oip_paths(settings: Settings, info: EngineInfo, url: str) -> Json:
    """The protocol's paths."""
    models = described_models(info)
    index = [answers.OipIndexed(name) for name in models]
    asked = {
        "tags": ["Instance"],
        "operationId": "oipIndex",
        "summary": "Which models does the Open Inference Protocol have?",
        "description": INDEX,
        "responses": {"200": answered("The models.", "OipIndex", index), **FAILURES.anywhere()},
        "x-codeSamples": [shell("curl", f"curl --fail-with-body -X POST {url}/v2/repository/index")],
    }
    paths = {get.path: {"get": _get(get, url)} for get in _server_gets(settings, models)}
    paths["/v2/repository/index"] = {"post": asked}
    for model in models.values():
        paths |= {get.path: {"get": _get(get, url)} for get in _model_gets(model, info)}
        paths[f"/v2/models/{model.name}/infer"] = {"post": _infer(model, settings, info, url)}
    return paths


def _server_gets(settings: Settings, models: dict[str, Model]) -> list[_Get]:
    problems = "Whatever goes wrong below `/v2` is answered as an `OipProblem`."
    server, stats = answers.OipServer(version=settings.release), [ModelStats().document(name) for name in models]
    return [
        _Get("/v2", "oipServer", "Who speaks the Open Inference Protocol?", problems, "OipServer", server),
        _Get("/v2/health/live", "oipLive", "Is the process alive?", LISTENS, "OipLive", answers.OipLive()),
        _Get("/v2/health/ready", "oipReady", "Does it answer?", LISTENS, "OipReady", answers.OipReady()),
        _Get(
            "/v2/models/stats",
            "oipStats",
            "How often and how long did each model run?",
            "Since start, of the requests that came by this protocol.",
            "OipModelStats",
            answers.OipModelStats(stats),
        ),
    ]


def _model_gets(model: Model, info: EngineInfo) -> list[_Get]:
    stats = answers.OipModelStats([ModelStats().document(model.name)])
    asked: list[tuple[str, str, object]] = [
        ("Metadata", "OipModel", metadata_of(model, info)),
        ("Config", "OipModelConfig", config_of(model, info)),
        ("Ready", "OipModelReady", answers.OipModelReady(model.name)),
        ("Stats", "OipModelStats", stats),
    ]
    return [
        _Get(
            f"/v2/models/{model.name}" + ("" if what == "Metadata" else f"/{what.lower()}"),
            model.name + what,
            SUMMARIES[what].format(name=model.name),
            VERSIONED.format(name=model.name, version=answers.VERSION),
            schema,
            example,
        )
        for what, schema, example in asked
    ]


def _get(get: _Get, url: str) -> Json:
    return {
        "tags": ["Instance"],
        "operationId": get.name,
        "summary": get.summary,
        "description": get.description,
        "responses": {"200": answered("The answer.", get.schema, get.example), **FAILURES.anywhere()},
        "x-codeSamples": get_sample(url, get.path),
    }


def _infer(model: Model, settings: Settings, info: EngineInfo, url: str) -> Json:
    length = {
        "description": "How many of the answer's bytes are JSON; where others follow.",
        "schema": {"type": "integer", "minimum": 1},
        "example": 214,
    }
    bytes_too = {"type": "string", "format": "binary", "description": "The JSON, and behind it the values as bytes."}
    return {
        "tags": ["Detection"],
        "operationId": f"{model.name}Infer",
        "summary": SUMMARIES["Infer"].format(name=model.name),
        "description": (
            f"{VERSIONED.format(name=model.name, version=answers.VERSION)} The query is not read. "
            "Whatever goes wrong is answered as an `OipProblem`."
        ),
        "parameters": [_length_parameter(), *header_parameters(settings)],
        "requestBody": infer_body(model, settings, info),
        "responses": {
            "200": {
                "description": "The outputs.",
                "headers": {**headers("Server-Timing"), HEADER_LENGTH: length},
                "content": {
                    "application/json": {
                        "schema": ref(schema_name(model, "Answer")),
                        "example": example_infer_answer(model, info),
                    },
                    "application/octet-stream": {"schema": bytes_too},
                },
            },
            **FAILURES.of_detection(),
        },
        "x-codeSamples": infer_samples(model, info, url),
    }


def _length_parameter() -> Json:
    return {
        "name": HEADER_LENGTH,
        "in": "header",
        "description": "How many of the body's bytes are JSON, where its input's bytes follow; all where absent.",
        "schema": {"type": "integer", "minimum": 0},
        "example": len(json.dumps(example_infer_request())),
    }


def oip_schemas(settings: Settings, info: EngineInfo) -> Json:
    """What the protocol's paths take and answer, by name."""
    models = described_models(info)
    named = ("OipIndexed", "OipModel", "OipModelConfig", "OipModelReady", "OipOneModelStats")
    runs_on = {"enum": [platform(info)]}
    schemas = schemas_of(
        answers.OipServer,
        answers.OipLive,
        answers.OipReady,
        answers.OipModel,
        answers.OipModelConfig,
        answers.OipModelReady,
        answers.OipModelStats,
        answers.OipProblem,
        OipIndex=answers.OipIndex,
        limits={
            **{f"{name}.name": {"enum": list(models)} for name in named},
            "OipModel.platform": runs_on,
            "OipModelConfig.platform": runs_on,
        },
    )
    for model in models.values():
        schemas[schema_name(model, "Request")] = infer_request(model, settings, info)
        schemas[schema_name(model, "Input")] = infer_input(model, settings, info)
        schemas |= infer_answers(model, info)
    return schemas


def described_models(info: EngineInfo) -> dict[str, Model]:
    """The protocol's models by name, for what they say of themselves."""
    # Only what they say of themselves is asked of these models, and for that they read no more of a detector.
    describing = SimpleNamespace(batcher=SimpleNamespace(info=info))
    return make_models(describing)  # type: ignore[arg-type]


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


def infer_answers(model: Model, info: EngineInfo) -> Json:
    """What the model answers, and its outputs, in JSON."""
    texts = [{"type": "string"}] * any(output.datatype == "BYTES" for output in model.outputs)
    value = {"anyOf": [{"type": "number"}, *texts]} if texts else {"type": "number"}
    answer, output = schema_name(model, "Answer"), schema_name(model, "Output")
    shapes = schemas_of(
        answers.OipAnswer,
        answers.OipOutput,
        limits={
            "OipAnswer": {"description": f"What `{model.name}` answers. {_gives(model, info)}"},
            "OipAnswer.model_name": {"enum": [model.name]},
            "OipAnswer.outputs": {"maxItems": len(model.outputs), "items": ref(output)},
            "OipOutput": {"description": f"An output of `{model.name}`."},
            "OipOutput.name": {"enum": [one.name for one in model.outputs]},
            "OipOutput.datatype": {"enum": sorted({one.datatype for one in model.outputs})},
            "OipOutput.data": {"items": value},
        },
    )
    return {answer: shapes["OipAnswer"], output: shapes["OipOutput"]}


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


def infer_input(model: Model, settings: Settings, info: EngineInfo) -> Json:
    """The input of a request in JSON."""
    if model.name == PICTURES:
        datatypes, rank, sides = ["BYTES"], (1, 2), max_files(settings)
        about, values = "Pictures; nested lists are taken, too.", {"maxItems": sides, "items": BASE64_PICTURE}
    else:
        datatypes, rank, sides = ["FP32", "UINT8"], (4, 4), max(max_files(settings), *info.input_size)
        about = "From 0 to 1 for FP32, whole numbers to 255 for UINT8; nested lists are taken, too."
        values = {"items": {"type": "number", "minimum": 0, "maximum": 255}}
    side = {"type": "integer", "minimum": 1, "maximum": max(sides, 3)}
    return record(
        f"The input of `{model.name}`. {_takes(model, settings, info)}",
        {
            "name": {"type": "string", "enum": [model.input.name]},
            "datatype": {"type": "string", "enum": datatypes},
            "shape": {"type": "array", "minItems": rank[0], "maxItems": rank[1], "items": side},
            "data": {"type": "array", "description": about, "minItems": 1, **values},
        },
    )


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


def example_infer_request() -> Json:
    """A picture that is small enough to be read, and real enough to be answered."""
    pixels = np.arange(0, 240, 10, dtype=np.uint8).reshape(2, 4, 3)
    picture = base64.b64encode(cv2.imencode(".png", pixels)[1].tobytes()).decode()
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [picture]}
    return {"id": EXAMPLE_ID, "inputs": [tensor], "parameters": {"conf": 0.5}}


def example_infer_answer(model: Model, info: EngineInfo) -> object:
    """The answer to a picture with one object, or to a frame with one."""
    found = example_found().boxes
    outputs: tuple[OutputTensor, ...]
    if model.name == PICTURES:
        outputs = boxes_as_tensors([found], info.classes)
    else:
        candidates = np.column_stack([found.corners, found.scores, found.class_ids]).astype(np.float32)[None]
        outputs = (OutputTensor("output0", "FP32", candidates_as_yolov5(candidates, len(info.classes))),)
    nothing = InputTensor("", "", (), memoryview(b""), binary=False)
    asked = InferRequest(EXAMPLE_ID, {}, nothing, (), binary_output=False)
    chosen = answers.chosen_outputs(asked, [output.name for output in outputs])
    return msgspec.json.decode(answers.write_answer(model.name, EXAMPLE_ID, chosen, outputs).body)


def infer_samples(model: Model, info: EngineInfo, url: str) -> list[Json]:
    """Ways to ask the model."""
    words = {"url": url, "model": model.name, "header": HEADER_LENGTH}
    if model.name == PICTURES:
        return [shell("A picture", SHELL_PICTURES.format(**words)), python(PYTHON_PICTURES.format(**words))]
    height, width = info.input_size
    return [python(PYTHON_FRAMES.format(**words, height=height, width=width))]
