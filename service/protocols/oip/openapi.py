"""`/v2`, the Open Inference Protocol, in the OpenAPI document: each model's paths by its name.

The names, tensors, configurations and statistics are the routes' own: nothing of them is written down here again.
"""

import json
from dataclasses import dataclass
from typing import Any

from service.engines import EngineInfo
from service.openapi.dialects import Failures, answered, shell
from service.openapi.headers import headers
from service.openapi.shapes import ref
from service.protocols.native.parameters import header_parameters
from service.protocols.oip.metadata import configure, describe
from service.protocols.oip.models import VERSION, Model
from service.protocols.oip.openapi_infer import infer_body, schema_name
from service.protocols.oip.openapi_samples import example_infer_answer, example_infer_request, infer_samples
from service.protocols.oip.openapi_schemas import described_models
from service.protocols.oip.routes import EXTENSIONS, HEADER_LENGTH, oip_problem
from service.protocols.oip.stats import ModelStats
from service.settings import Settings

Json = dict[str, Any]

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
        ("Metadata", "OipModel", describe(model, info)),
        ("Config", "OipModelConfig", configure(model, info)),
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
