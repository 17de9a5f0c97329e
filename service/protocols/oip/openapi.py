"""`/v2`, the Open Inference Protocol, in the OpenAPI document: each model's paths by its name.

The names, tensors, configurations and statistics are the routes' own: nothing of them is written down here again.

`oip_schemas`, `described_models`: what the Open Inference Protocol's paths take and answer, by name.
"""

import json
from dataclasses import dataclass
from types import SimpleNamespace

from service.engines import EngineInfo
from service.openapi.dialects import Failures, answered, shell
from service.openapi.headers import headers
from service.openapi.shapes import COUNT, TEXT, Json, record, ref, said
from service.protocols.native.openapi import header_parameters
from service.protocols.oip.models import VERSION, Model, config_of, make_models, metadata_of, platform
from service.protocols.oip.openapi_infer import (
    example_infer_answer,
    example_infer_request,
    infer_answer,
    infer_body,
    infer_input,
    infer_output,
    infer_request,
    infer_samples,
    schema_name,
)
from service.protocols.oip.routes import EXTENSIONS, HEADER_LENGTH, oip_problem
from service.protocols.oip.stats import ModelStats
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
