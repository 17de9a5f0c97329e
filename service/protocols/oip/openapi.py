"""`/v2`, the Open Inference Protocol, in the OpenAPI document: each model's paths by its name.

The names, tensors, configurations and statistics are the routes' own: nothing of them is written down here again.

`oip_schemas`, `described_models`: what the Open Inference Protocol's paths take and answer, by name.
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
from service.openapi.dialects import Failures, answered, python, shell
from service.openapi.headers import headers
from service.openapi.shapes import COUNT, TEXT, Json, record, ref, said
from service.pictures.kinds import TAKEN
from service.pipeline.boxes import Boxes
from service.protocols.native.openapi import header_parameters, query_parameters
from service.protocols.native.query import LONGEST_TIMEOUT_MS
from service.protocols.native.routes import max_files
from service.protocols.oip.answer import chosen_outputs, write_answer
from service.protocols.oip.models import (
    IGNORED,
    VERSION,
    Model,
    boxes_as_tensors,
    candidates_as_yolov5,
    config_of,
    make_models,
    metadata_of,
    platform,
)
from service.protocols.oip.request import MAX_NAME, InferRequest, InputTensor
from service.protocols.oip.routes import EXTENSIONS, HEADER_LENGTH, oip_problem
from service.protocols.oip.stats import ModelStats
from service.protocols.oip.tensors import MAX_JSON_NUMBERS, OutputTensor
from service.settings import Settings

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
SHAPE_SIDE: Json = {"type": "integer", "minimum": 0}
BASE64_PICTURE: Json = {"type": "string", "format": "byte", "description": f"The base64 of a {TAKEN} file."}
SPECIAL = re.compile(r"[\\^$.*+?()\[\]{}|/]")


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
    index = [{"name": name, "version": VERSION, "state": "READY", "reason": ""} for name in models]
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
    server = {"name": "framefleet", "version": settings.release, "extensions": EXTENSIONS}
    problems = "Whatever goes wrong below `/v2` is answered as an `OipProblem`."
    stats = [ModelStats().document(name, VERSION) for name in models]
    return [
        _Get("/v2", "oipServer", "Who speaks the Open Inference Protocol?", problems, "OipServer", server),
        _Get("/v2/health/live", "oipLive", "Is the process alive?", LISTENS, "OipLive", {"live": True}),
        _Get("/v2/health/ready", "oipReady", "Does it answer?", LISTENS, "OipReady", {"ready": True}),
        _Get(
            "/v2/models/stats",
            "oipStats",
            "How often and how long did each model run?",
            "Since start, of the requests that came by this protocol.",
            "OipModelStats",
            {"model_stats": stats},
        ),
    ]


def _model_gets(model: Model, info: EngineInfo) -> list[_Get]:
    stats = {"model_stats": [ModelStats().document(model.name, VERSION)]}
    answers: list[tuple[str, str, object]] = [
        ("Metadata", "OipModel", metadata_of(model, info)),
        ("Config", "OipModelConfig", config_of(model, info)),
        ("Ready", "OipModelReady", {"name": model.name, "ready": True}),
        ("Stats", "OipModelStats", stats),
    ]
    return [
        _Get(
            f"/v2/models/{model.name}" + ("" if what == "Metadata" else f"/{what.lower()}"),
            model.name + what,
            SUMMARIES[what].format(name=model.name),
            VERSIONED.format(name=model.name, version=VERSION),
            schema,
            example,
        )
        for what, schema, example in answers
    ]


def _get(get: _Get, url: str) -> Json:
    return {
        "tags": ["Instance"],
        "operationId": get.name,
        "summary": get.summary,
        "description": get.description,
        "responses": {"200": answered("The answer.", get.schema, get.example), **FAILURES.anywhere()},
        "x-codeSamples": [shell("curl", f"curl --fail-with-body {url}{get.path}")],
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
            f"{VERSIONED.format(name=model.name, version=VERSION)} The query is not read. Whatever goes wrong is "
            "answered as an `OipProblem`."
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
    name = {"type": "string", "enum": list(models)}
    version = {"type": "string", "enum": [VERSION]}
    schemas = {
        "OipServer": record(
            "The server, in the protocol's words.",
            {
                "name": {"type": "string", "enum": ["framefleet"]},
                "version": said(TEXT, "The release it runs."),
                "extensions": {"type": "array", "items": {"type": "string", "enum": list(EXTENSIONS)}},
            },
        ),
        "OipLive": record("It is alive.", {"live": {"type": "boolean", "enum": [True]}}),
        "OipReady": record("It is ready.", {"ready": {"type": "boolean", "enum": [True]}}),
        "OipIndex": _list_of(
            "Every model; YOLOv5's own tools take the first.",
            record(
                "One model.",
                {
                    "name": name,
                    "version": version,
                    "state": {"type": "string", "enum": ["READY"]},
                    "reason": said(TEXT, "Empty."),
                },
            ),
        ),
        "OipModel": _metadata(name, version, info),
        "OipModelConfig": _config(name, info),
        "OipModelReady": record("The model answers.", {"name": name, "ready": {"type": "boolean", "enum": [True]}}),
        "OipModelStats": _stats(name, version),
        "OipProblem": record(
            "What went wrong, as the protocol's clients read it.",
            {"error": {"type": "string", "minLength": 1, "description": "Where, what, and how to put it right."}},
        ),
    }
    for model in models.values():
        schemas[schema_name(model, "Request")] = infer_request(model, settings, info)
        schemas[schema_name(model, "Input")] = infer_input(model, settings, info)
        schemas[schema_name(model, "Answer")] = infer_answer(model, info)
        schemas[schema_name(model, "Output")] = infer_output(model)
    return schemas


def described_models(info: EngineInfo) -> dict[str, Model]:
    """The protocol's models by name, for what they say of themselves."""
    # Only what they say of themselves is asked of these models, and for that they read no more of a detector.
    describing = SimpleNamespace(batcher=SimpleNamespace(info=info))
    return make_models(describing)  # type: ignore[arg-type]


def _metadata(name: Json, version: Json, info: EngineInfo) -> Json:
    tensors = _list_of("Its tensors.", _tensor("datatype", "shape", "INT32", "FP32", "BYTES"))
    return record(
        "A model, in the protocol's words; -1 is a size that varies.",
        {
            "name": name,
            "versions": {"type": "array", "minItems": 1, "items": version},
            "platform": {"type": "string", "enum": [platform(info)]},
            "inputs": tensors,
            "outputs": tensors,
        },
    )


def _config(name: Json, info: EngineInfo) -> Json:
    tensors = _list_of("Its tensors.", _tensor("data_type", "dims", "TYPE_INT32", "TYPE_FP32", "TYPE_STRING"))
    text = record("A text.", {"string_value": TEXT})
    return record(
        "A model, in the words of Triton's configuration.",
        {
            "name": name,
            "platform": {"type": "string", "enum": [platform(info)]},
            "max_batch_size": {"type": "integer", "enum": [0], "description": "Shapes are whole, batch and all."},
            "input": tensors,
            "output": tensors,
            "parameters": record(
                "What else there is.",
                {
                    "names": said(text, "The classes by id, as a JSON list."),
                    "engine_max_batch": said(text, "Frames inferred at once at most."),
                },
            ),
        },
    )


def _tensor(kind: str, shape: str, *kinds: str) -> Json:
    side = {"type": "integer", "minimum": -1}
    return record(
        "One tensor.",
        {"name": TEXT, kind: {"type": "string", "enum": list(kinds)}, shape: {"type": "array", "items": side}},
    )


def _stats(name: Json, version: Json) -> Json:
    spent = record("How often, and nanoseconds in all.", {"count": COUNT, "ns": COUNT})
    stages = list(ModelStats().document("", VERSION)["inference_stats"])  # type: ignore[call-overload]
    computed = dict.fromkeys(("compute_input", "compute_infer", "compute_output"), spent)
    batches = record("Batches of one size.", {"batch_size": {"type": "integer", "minimum": 1}, **computed})
    one = record(
        "One model since start.",
        {
            "name": name,
            "version": version,
            "last_inference": said(COUNT, "Milliseconds since 1970; 0 where there was none."),
            "inference_count": said(COUNT, "Frames."),
            "execution_count": said(COUNT, "Batches; a frame is its share of one."),
            "inference_stats": record("What its requests spent where.", dict.fromkeys(stages, spent)),
            "batch_stats": {"type": "array", "items": batches},
        },
    )
    return record("What the models did.", {"model_stats": _list_of("One for each model.", one)})


def _list_of(description: str, item: Json) -> Json:
    return {"type": "array", "description": description, "minItems": 1, "items": item}


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


def example_infer_request() -> Json:
    """A picture that is small enough to be read, and real enough to be answered."""
    pixels = np.arange(0, 240, 10, dtype=np.uint8).reshape(2, 4, 3)
    picture = base64.b64encode(cv2.imencode(".png", pixels)[1].tobytes()).decode()
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [picture]}
    return {"id": EXAMPLE_ID, "inputs": [tensor], "parameters": {"conf": 0.5}}


def example_infer_answer(model: Model, info: EngineInfo) -> object:
    """The answer to a picture with one object, or to a frame with one."""
    corners, score = [66.25, 33.5, 112.0, 94.75], 0.75
    outputs: tuple[OutputTensor, ...]
    if model.name == PICTURES:
        found = Boxes(np.array([corners], np.float32), np.array([score], np.float32), np.zeros(1, np.int64))
        outputs = boxes_as_tensors([found], info.classes)
    else:
        candidates = np.array([[[*corners, score, 0]]], np.float32)
        outputs = (OutputTensor("output0", "FP32", candidates_as_yolov5(candidates, len(info.classes))),)
    nothing = InputTensor("", "", (), memoryview(b""), binary=False)
    asked = InferRequest(EXAMPLE_ID, {}, nothing, (), binary_output=False)
    chosen = chosen_outputs(asked, [output.name for output in outputs])
    return msgspec.json.decode(write_answer(model.name, EXAMPLE_ID, chosen, outputs).body)


def infer_samples(model: Model, info: EngineInfo, url: str) -> list[Json]:
    """Ways to ask the model."""
    words = {"url": url, "model": model.name, "header": HEADER_LENGTH}
    if model.name == PICTURES:
        return [shell("A picture", SHELL_PICTURES.format(**words)), python(PYTHON_PICTURES.format(**words))]
    height, width = info.input_size
    return [python(PYTHON_FRAMES.format(**words, height=height, width=width))]
