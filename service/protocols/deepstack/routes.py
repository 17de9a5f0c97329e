"""`/v1/vision`: the protocol of DeepStack and CodeProject.AI.

Frigate, Home Assistant, Blue Iris and Agent DVR speak it.

`deepstack_paths`, `deepstack_schemas`: `/v1/vision`, the protocol of DeepStack and CodeProject.AI, in the OpenAPI
document.
"""

import time
from collections.abc import Callable, Mapping

from flask import Blueprint, Response
from werkzeug.exceptions import NotFound

from framefleet.wire.answers import Problem
from service.engines import EngineInfo
from service.errors import InvalidValue, ServiceError
from service.openapi.dialects import Failures, answered, python, shell
from service.openapi.headers import EXAMPLE_REQUEST_ID
from service.openapi.shapes import COUNT, REQUEST, TEXT, Json, record, ref, said
from service.pictures.form import Form
from service.pipeline.boxes import Boxes, Selection
from service.pipeline.detector import Detections, Detector, Wish
from service.protocols.exchange import json_answer, read_upload_form, reception
from service.protocols.native.openapi import FORM_FIELD, PICTURE_TYPES, header_parameters, one_picture
from service.protocols.native.query import MAX_CANDIDATES, read_selection
from service.protocols.native.routes import default_selection
from service.server.observe import request_id
from service.settings import Settings

COMMANDS = ("detect", "custom")
DETECTION = """\
For clients of DeepStack and CodeProject.AI: Frigate, Home Assistant, Blue Iris and Agent DVR. Of a form's files the \
one named `image` is looked at, else the first; fields that are not named here are passed over. The query is not read. \
Whatever goes wrong is answered as a `DeepStackProblem`.\
"""
MODELS = "What Blue Iris asks for before it sends a picture to a model by its name. A body is not read."
NO_SUCH_MODEL = "The model is not served here; the answer names the one that is."
PYTHON = """\
import requests

with open("picture.jpg", "rb") as picture:
    answer = requests.post(
        "{url}{path}", files={{"image": picture}}, data={{"min_confidence": "0.5"}}, timeout=10
    )
for found in answer.json()["predictions"]:
    print(found["label"], found["confidence"], found["x_min"], found["y_min"], found["x_max"], found["y_max"])
"""
MIN_CONFIDENCE = 0.4  # both servers' own default
GENERAL = "general"  # their name for whatever model a server has
NAMED_IN_MESSAGE = 3


def deepstack_problem(problem: Problem) -> dict[str, object]:
    """Writes a problem this protocol's way; the HTTP status says the same as `code`."""
    return {"success": False, "error": problem.detail, "code": problem.status, "predictions": [], "count": 0}


FAILURES = Failures("DeepStackProblem", deepstack_problem)


def deepstack_routes(detector: Detector, settings: Settings, clock: Callable[[], float] = time.monotonic) -> Blueprint:
    """Makes the paths that detect, and the list of models that Blue Iris asks for first.

    Args:
        detector: started.
        settings: the instance's settings.
        clock: seconds, monotonic.
    """
    routes = Blueprint("deepstack", __name__, url_prefix="/v1/vision")
    info = detector.batcher.info
    take_in = reception(detector, settings)

    @routes.post("/detection")
    def detection() -> Response:
        return answer("detect")

    @routes.post("/custom/<model>")
    def custom(model: str) -> Response:
        if model not in (info.model, GENERAL):
            raise NotFound(f"model {model[:40]!r}: not served here; there is {info.model}")
        return answer("custom")

    @routes.route("/custom/list", methods=["GET", "POST"])
    def models() -> Response:
        return json_answer({"success": True, "models": [info.model], "code": 200, "command": "list-custom"})

    def answer(command: str) -> Response:
        began = clock()
        with take_in() as visit:
            form = read_upload_form(visit, settings.max_files)
            wish = Wish(_selection(form.texts, default_selection(settings)))
            (found,) = detector.detect(_picture(form), wish, visit)
        if isinstance(found, ServiceError):
            raise found
        document = {**deepstack_answer(found, info), "command": command, "requestId": request_id()}
        response = json_answer({**document, "analysisRoundTripMs": round((clock() - began) * 1000)})
        response.headers["Server-Timing"] = found.stages.server_timing(found.batch_size)
        return response

    return routes


def deepstack_answer(found: Detections, info: EngineInfo) -> dict[str, object]:
    """Writes detections as the protocol does: whole pixels inside the picture, whole milliseconds."""
    stages = found.stages
    predictions = _predictions(found.boxes, info.classes)
    return {
        "success": True,
        "message": _message([str(prediction["label"]) for prediction in predictions]),
        "predictions": predictions,
        "count": len(predictions),
        "inferenceMs": round(stages.infer_ms),
        "processMs": round(stages.decode_ms + stages.queue_ms + stages.infer_ms + stages.post_ms),
        "code": 200,
        "moduleId": "framefleet",
        "executionProvider": info.device,
        "canUseGPU": info.on_gpu,
    }


def _predictions(boxes: Boxes, classes: tuple[str, ...]) -> list[dict[str, object]]:
    return [
        {
            "label": classes[box.class_id],
            "confidence": box.score,
            **dict(zip(("x_min", "y_min", "x_max", "y_max"), (round(side) for side in box.corners), strict=True)),
        }
        for box in boxes
    ]


def _message(labels: list[str]) -> str:
    if not labels:
        return "No objects found"
    return f"Found {', '.join(labels[:NAMED_IN_MESSAGE])}{'...' if len(labels) > NAMED_IN_MESSAGE else ''}"


def _selection(texts: Mapping[str, str], defaults: Selection) -> Selection:
    confidence = texts.get("min_confidence", "").strip() or str(MIN_CONFIDENCE)
    try:
        return read_selection({"conf": confidence}, defaults, ())
    except InvalidValue:
        raise InvalidValue(f"min_confidence: {confidence[:40]!r} is not a number from 0 to 1") from None


def _picture(form: Form) -> list[bytes | memoryview]:
    """The file named image, else the first: both servers take what comes. The form is emptied."""
    picture = next((upload for upload in form.files if upload.field == "image"), form.files[0]).data
    form.files.clear()
    return [picture]


def deepstack_paths(settings: Settings, info: EngineInfo, url: str) -> Json:
    """The protocol's paths."""
    model = {
        "name": "model",
        "in": "path",
        "required": True,
        "description": f"The model's name, or `{GENERAL}`.",
        "schema": {"type": "string", "enum": sorted({info.model, GENERAL})},
        "example": GENERAL,
    }
    detection, custom = _detection(settings, info), _detection(settings, info, NO_SUCH_MODEL)
    ask = f"curl --fail-with-body {url}/v1/vision/custom/list"
    return {
        "/v1/vision/detection": {
            "post": {
                **detection,
                "operationId": "visionDetection",
                "summary": "Detect as DeepStack does",
                "x-codeSamples": _samples(url, "/v1/vision/detection"),
            }
        },
        "/v1/vision/custom/{model}": {
            "post": {
                **custom,
                "operationId": "visionCustom",
                "summary": "Detect as the custom models of DeepStack do",
                "parameters": [model, *custom["parameters"]],
                "x-codeSamples": _samples(url, f"/v1/vision/custom/{GENERAL}"),
            }
        },
        "/v1/vision/custom/list": {
            "get": {**_list(info), "operationId": "visionModels", "x-codeSamples": [shell("curl", ask)]},
            "post": {
                **_list(info),
                "operationId": "visionModelsPosted",
                "x-codeSamples": [shell("curl", ask.replace("curl", "curl -X POST", 1))],
            },
        },
    }


def deepstack_schemas(settings: Settings, info: EngineInfo) -> Json:
    """What the protocol's paths answer, by name."""
    return {
        "DeepStackPrediction": _prediction(settings, info),
        "DeepStackDetections": _answer(),
        "DeepStackModels": record(
            "The models there are.",
            {
                "success": {"type": "boolean", "enum": [True]},
                "models": {"type": "array", "minItems": 1, "items": TEXT},
                "code": {"type": "integer", "enum": [200]},
                "command": {"type": "string", "enum": ["list-custom"]},
            },
        ),
        "DeepStackProblem": record(
            "What went wrong, as DeepStack's clients read it.",
            {
                "success": {"type": "boolean", "enum": [False]},
                "error": {"type": "string", "minLength": 1, "description": "Where, what, and how to put it right."},
                "code": {"type": "integer", "minimum": 400, "maximum": 599, "description": "The HTTP status."},
                "predictions": {"type": "array", "maxItems": 0, "items": ref("DeepStackPrediction")},
                "count": {"type": "integer", "enum": [0]},
            },
        ),
    }


def _detection(settings: Settings, info: EngineInfo, missing: str = "") -> Json:
    return {
        "tags": ["Detection"],
        "description": DETECTION,
        "parameters": header_parameters(settings),
        "requestBody": _body(settings),
        "responses": {
            "200": answered(
                "What was found; an empty list where nothing was.",
                "DeepStackDetections",
                _example(info, COMMANDS[1] if missing else COMMANDS[0]),
                "Server-Timing",
            ),
            **FAILURES.of_detection(missing),
        },
    }


def _body(settings: Settings) -> Json:
    """What the native routes take, but for the form, which has a threshold beside its file."""
    confidence = {
        "type": "number",
        "description": "Score that a box must exceed.",
        "minimum": 0,
        "maximum": 1,
        "default": MIN_CONFIDENCE,
    }
    picture = {"type": "string", "format": "binary", "description": "The picture, as a file."}
    form = {
        **record(
            "A form with one picture as a file and, if wanted, `min_confidence`, the score that a box must exceed "
            f"({MIN_CONFIDENCE:g} where it is absent or empty).",
            {FORM_FIELD: picture, "min_confidence": confidence},
        ),
        "required": [FORM_FIELD],
    }
    body = one_picture(settings)
    part = {"schema": form, "encoding": {FORM_FIELD: {"contentType": PICTURE_TYPES}}}
    return {**body, "content": {"multipart/form-data": part, **_others(body["content"])}}


def _others(content: Json) -> Json:
    return {media: {"schema": body["schema"]} for media, body in content.items() if media != "multipart/form-data"}


def _list(info: EngineInfo) -> Json:
    example = {"success": True, "models": [info.model], "code": 200, "command": "list-custom"}
    return {
        "tags": ["Instance"],
        "summary": "Which custom models are there?",
        "description": MODELS,
        "responses": {"200": answered("The models.", "DeepStackModels", example), **FAILURES.anywhere()},
    }


def _prediction(settings: Settings, info: EngineInfo) -> Json:
    side = {"type": "integer", "minimum": 0, "maximum": settings.max_side}
    return record(
        "One object, in whole pixels of the picture as it is stored; inside it.",
        {
            "label": {"type": "string", "enum": sorted(set(info.classes)), "description": "The class by name."},
            "confidence": {"type": "number", "minimum": 0, "maximum": 1},
            **{name: side for name in ("x_min", "y_min", "x_max", "y_max")},
        },
    )


def _answer() -> Json:
    return record(
        "The answer to one picture.",
        {
            "success": {"type": "boolean", "enum": [True]},
            "message": said(TEXT, "The first labels, in words."),
            "predictions": {
                "type": "array",
                "description": "Highest confidence first.",
                "maxItems": MAX_CANDIDATES,
                "items": ref("DeepStackPrediction"),
            },
            "count": said(COUNT, "How many predictions there are."),
            "inferenceMs": said(COUNT, "Whole milliseconds of the inference."),
            "processMs": said(COUNT, "Whole milliseconds of all stages."),
            "code": {"type": "integer", "enum": [200]},
            "command": {"type": "string", "enum": list(COMMANDS)},
            "moduleId": {"type": "string", "enum": ["framefleet"]},
            "executionProvider": said(TEXT, "The device that inferred it."),
            "canUseGPU": {"type": "boolean"},
            "analysisRoundTripMs": said(COUNT, "Whole milliseconds from the body's arrival to the answer."),
            "requestId": REQUEST,
        },
    )


def _example(info: EngineInfo, command: str) -> Json:
    label = info.classes[0]
    found = {"label": label, "confidence": 0.9184, "x_min": 66, "y_min": 33, "x_max": 112, "y_max": 95}
    return {
        "success": True,
        "message": f"Found {label}",
        "predictions": [found],
        "count": 1,
        "inferenceMs": 30,
        "processMs": 31,
        "code": 200,
        "command": command,
        "moduleId": "framefleet",
        "executionProvider": info.device,
        "canUseGPU": info.on_gpu,
        "analysisRoundTripMs": 32,
        "requestId": EXAMPLE_REQUEST_ID,
    }


def _samples(url: str, path: str) -> list[Json]:
    post = f"curl --fail-with-body {url}{path} -F image=@picture.jpg"
    return [
        shell("A picture", post),
        shell("Only sure boxes", f"{post} -F min_confidence=0.8"),
        python(PYTHON.format(url=url, path=path)),
    ]
