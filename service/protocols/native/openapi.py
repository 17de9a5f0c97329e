"""`/v1/detect` and `/predict` in the OpenAPI document."""

from typing import Any

from service.engines import EngineInfo
from service.openapi.headers import headers
from service.openapi.problems import detection_problems
from service.openapi.shapes import ref
from service.protocols.native.openapi_bodies import one_picture, several_pictures
from service.protocols.native.openapi_detections import example_answer, example_answers, example_first_server
from service.protocols.native.parameters import header_parameters, query_parameters
from service.protocols.native.routes import FIRST_SERVER
from service.protocols.native.samples import detect_samples, predict_samples
from service.settings import Settings

Json = dict[str, Any]

DETECT = """\
Answers labelled boxes in the picture's own pixels, best first, with the picture's size, the model and the time that \
each stage took. With `Accept: image/jpeg` one picture comes back with its boxes drawn. The pictures of a form are \
inferred together, and one that is broken has its problem in its place.\
"""
PREDICT = """\
For clients of the first server, unchanged: whole pixels that may lie outside the picture, scores to two digits, \
scores over {conf:g}, NMS over all classes at {iou:g}. The query is not read.\
"""


def detect_paths(settings: Settings, info: EngineInfo, url: str) -> Json:
    """The routes that detect."""
    return {"/v1/detect": {"post": _detect(settings, info, url)}, "/predict": {"post": _predict(settings, url)}}


def _detect(settings: Settings, info: EngineInfo, url: str) -> Json:
    answer = {
        "schema": {"anyOf": [ref("Detections"), ref("SeveralDetections")]},
        "examples": {
            "one picture": {"value": example_answer(info)},
            "a form with two files": {"value": example_answers(info)},
        },
    }
    drawn = {"schema": {"type": "string", "format": "binary", "description": "The picture with its boxes drawn."}}
    return {
        "tags": ["Detection"],
        "operationId": "detect",
        "summary": "Detect objects in one picture, or in several",
        "description": DETECT,
        "parameters": [*query_parameters(settings, info.classes), *header_parameters(settings)],
        "requestBody": several_pictures(settings),
        "responses": {
            "200": {
                "description": "What was found; an empty list where nothing was.",
                "headers": headers("Server-Timing"),
                "content": {"application/json": answer, "image/jpeg": drawn},
            },
            **detection_problems(),
        },
        "x-codeSamples": detect_samples(url),
    }


def _predict(settings: Settings, url: str) -> Json:
    answer = {"schema": ref("FirstServerDetections"), "example": example_first_server()}
    return {
        "tags": ["Detection"],
        "operationId": "predict",
        "summary": "Detect as the first server did",
        "description": PREDICT.format(conf=FIRST_SERVER.conf, iou=FIRST_SERVER.iou),
        "parameters": header_parameters(settings),
        "requestBody": one_picture(settings),
        "responses": {
            "200": {
                "description": "What was found; an empty list where nothing was.",
                "headers": headers("Server-Timing"),
                "content": {"application/json": answer},
            },
            **detection_problems(),
        },
        "x-codeSamples": predict_samples(url),
    }
