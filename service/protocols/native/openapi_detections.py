"""What the detecting routes answer, as schemas and by example."""

from typing import Any

from service.engines import EngineInfo
from service.openapi.problems import problem_schemas
from service.openapi.shapes import INPUT_SIZE, REQUEST, TEXT, record, ref, said
from service.pipeline.stages import STAGES
from service.protocols.native.openapi_bodies import raw_frame
from service.protocols.native.query import MAX_CANDIDATES
from service.protocols.native.routes import max_files
from service.settings import Settings

Json = dict[str, Any]

MILLISECONDS: Json = {"type": "number", "minimum": 0}
FILE_NAME = said(TEXT, "The file's name in the form.")


def detect_schemas(settings: Settings, info: EngineInfo) -> Json:
    """What the detecting routes take and answer, by name."""
    answer = _answer(settings)
    named = {"name": FILE_NAME, **answer["properties"]}
    problem = {"name": FILE_NAME, **problem_schemas()["Problem"]["properties"]}
    return {
        "RawFrame": raw_frame(settings),
        "Detection": _detection(info),
        "Detections": answer,
        "NamedDetections": record("The answer to one file of a form.", named),
        "NamedProblem": record("A file of a form that could not be answered; the others still are.", problem),
        "SeveralDetections": _several(settings),
        "FirstServerDetections": _first_server(),
    }


def example_answer(info: EngineInfo) -> Json:
    """The answer to a picture with one object."""
    return {
        "detections": [{"label": info.classes[0], "class_id": 0, "score": 0.9184, "box": [66.21, 33.4, 112.08, 94.77]}],
        "image": {"width": 176, "height": 144},
        "timings_ms": dict(zip(STAGES, (0.512, 0.094, 30.12, 0.21), strict=True)),
        "model": {"name": info.model, "input": info.input_size},
        "request_id": "camera-7-000123",
    }


def example_answers(info: EngineInfo) -> Json:
    """The answer to a form with two files, one of them broken."""
    answer = example_answer(info)
    problem = {
        "type": "about:blank",
        "title": "Malformed body",
        "status": 400,
        "code": "malformed_body",
        "detail": "image: the PNG ends before its IEND chunk; send a whole PNG file",
        "request_id": answer["request_id"],
    }
    results = [{"name": "left.jpg", **answer}, {"name": "right.png", **problem}]
    return {"results": results, "request_id": answer["request_id"]}


def example_first_server() -> list[Json]:
    """The first server's answer to a picture with one object."""
    return [{"0": [66, 33, 112, 95, 0.92]}]


def _detection(info: EngineInfo) -> Json:
    box = {
        "type": "array",
        "description": "x1, y1, x2, y2 in pixels of the picture as it is stored; inside it.",
        "minItems": 4,
        "maxItems": 4,
        "items": {"type": "number", "minimum": 0},
    }
    return record(
        "One object.",
        {
            "label": said(TEXT, "The class by name."),
            "class_id": {"type": "integer", "minimum": 0, "maximum": len(info.classes) - 1},
            "score": {"type": "number", "minimum": 0, "maximum": 1},
            "box": box,
        },
    )


def _answer(settings: Settings) -> Json:
    side = {"type": "integer", "minimum": 1, "maximum": settings.max_side}
    return record(
        "The answer to one picture.",
        {
            "detections": {
                "type": "array",
                "description": "Highest score first.",
                "maxItems": MAX_CANDIDATES,
                "items": ref("Detection"),
            },
            "image": record("The picture's size in pixels.", {"width": side, "height": side}),
            "timings_ms": record("What each stage took.", dict.fromkeys(STAGES, MILLISECONDS)),
            "model": record("What answered.", {"name": TEXT, "input": INPUT_SIZE}),
            "request_id": REQUEST,
        },
    )


def _several(settings: Settings) -> Json:
    results = {
        "type": "array",
        "description": "One for each file, in the form's order.",
        "minItems": 1,
        "maxItems": max_files(settings),
        "items": {"anyOf": [ref("NamedDetections"), ref("NamedProblem")]},
    }
    return record("The answer to a form with several files.", {"results": results, "request_id": REQUEST})


def _first_server() -> Json:
    return {
        "type": "array",
        "description": "One object for each box, highest score first.",
        "maxItems": MAX_CANDIDATES,
        "items": {
            "type": "object",
            "description": "Its one key is the class id.",
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": {
                "type": "array",
                "description": "x1, y1, x2, y2 in whole pixels, then the score.",
                "minItems": 5,
                "maxItems": 5,
                "items": {"type": "number"},
            },
        },
    }
