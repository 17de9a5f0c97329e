"""`/v1/vision`: the protocol of DeepStack and CodeProject.AI.

Frigate, Home Assistant, Blue Iris and Agent DVR speak it.

`deepstack_paths`, `deepstack_schemas`: `/v1/vision`, the protocol of DeepStack and CodeProject.AI, in the OpenAPI
document.
"""

import time
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

from flask import Blueprint, Response
from msgspec import Meta, Struct, field
from werkzeug.exceptions import NotFound

from framefleet.wire.answers import Count, Detail, Problem, RequestId
from service.engines import EngineInfo
from service.errors import InvalidValue, ServiceError
from service.openapi.examples import example_found, python, shell
from service.openapi.headers import EXAMPLE_REQUEST_ID, answered
from service.openapi.problems import Failures
from service.openapi.shapes import Json, No, Yes, record, schemas_of
from service.pictures.form import Form
from service.pipeline.boxes import Box, Selection
from service.pipeline.detector import Detections, Detector, Wish
from service.protocols.exchange import json_answer, read_upload_form, reception
from service.protocols.native.openapi import FORM_FIELD, PICTURE_TYPES, header_parameters, one_picture
from service.protocols.native.query import MAX_CANDIDATES, read_selection
from service.protocols.native.routes import default_selection
from service.server.observe import request_id
from service.settings import Settings

Command = Literal["detect", "custom"]
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


class DeepStackPrediction(Struct, frozen=True):
    """One object, in whole pixels of the picture as it is stored; inside it."""

    label: Annotated[str, Meta(description="The class by name.")]
    confidence: Annotated[float, Meta(extra_json_schema={"minimum": 0, "maximum": 1})]
    x_min: Count
    y_min: Count
    x_max: Count
    y_max: Count


class DeepStackDetections(Struct, frozen=True, kw_only=True, rename="camel"):
    """The answer to one picture."""

    success: Yes = True
    message: Annotated[str, Meta(description="The first labels, in words.")]
    predictions: Annotated[tuple[DeepStackPrediction, ...], Meta(description="Highest confidence first.")]
    count: Annotated[Count, Meta(description="How many predictions there are.")]
    inference_ms: Annotated[Count, Meta(description="Whole milliseconds of the inference.")]
    process_ms: Annotated[Count, Meta(description="Whole milliseconds of all stages.")]
    code: Literal[200] = 200
    command: Command
    module_id: Literal["framefleet"] = "framefleet"
    execution_provider: Annotated[str, Meta(description="The device that inferred it.")]
    can_use_gpu: bool = field(name="canUseGPU")
    analysis_round_trip_ms: Annotated[Count, Meta(description="Whole milliseconds from the body's arrival on.")]
    request_id: RequestId


class DeepStackModels(Struct, frozen=True, kw_only=True):
    """The models there are."""

    success: Yes = True
    models: Annotated[list[str], Meta(min_length=1)]
    code: Literal[200] = 200
    command: Literal["list-custom"] = "list-custom"


class DeepStackProblem(Struct, frozen=True, kw_only=True):
    """What went wrong, as DeepStack's clients read it."""

    success: No = False
    error: Detail
    code: Annotated[int, Meta(description="The HTTP status.", ge=400, le=599)]
    predictions: Annotated[tuple[DeepStackPrediction, ...], Meta(max_length=0)] = ()
    count: Literal[0] = 0


def deepstack_problem(problem: Problem) -> DeepStackProblem:
    """Writes a problem this protocol's way; the HTTP status says the same as `code`."""
    return DeepStackProblem(error=problem.detail, code=problem.status)


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
        return json_answer(DeepStackModels(models=[info.model]))

    def answer(command: Command) -> Response:
        began = clock()
        with take_in() as visit:
            form = read_upload_form(visit, settings.max_files)
            wish = Wish(_selection(form.texts, default_selection(settings)))
            (found,) = detector.detect(_picture(form), wish, visit)
        if isinstance(found, ServiceError):
            raise found
        response = json_answer(deepstack_answer(found, info, command, round((clock() - began) * 1000), request_id()))
        response.headers["Server-Timing"] = found.stages.server_timing(found.batch_size)
        return response

    return routes


def deepstack_answer(
    found: Detections, info: EngineInfo, command: Command, round_trip_ms: int, request_id: str
) -> DeepStackDetections:
    """Writes detections as the protocol does: whole pixels inside the picture, whole milliseconds."""
    stages = found.stages
    predictions = tuple(_prediction(box, info.classes) for box in found.boxes)
    return DeepStackDetections(
        message=_message([prediction.label for prediction in predictions]),
        predictions=predictions,
        count=len(predictions),
        inference_ms=round(stages.infer_ms),
        process_ms=round(stages.decode_ms + stages.queue_ms + stages.infer_ms + stages.post_ms),
        command=command,
        execution_provider=info.device,
        can_use_gpu=info.on_gpu,
        analysis_round_trip_ms=round_trip_ms,
        request_id=request_id,
    )


def _prediction(box: Box, classes: tuple[str, ...]) -> DeepStackPrediction:
    return DeepStackPrediction(classes[box.class_id], box.score, *(round(side) for side in box.corners))


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
    side = {"maximum": settings.max_side}
    return schemas_of(
        DeepStackDetections,
        DeepStackModels,
        DeepStackProblem,
        limits={
            "DeepStackPrediction.label": {"enum": sorted(set(info.classes))},
            **{f"DeepStackPrediction.{name}": side for name in ("x_min", "y_min", "x_max", "y_max")},
            "DeepStackDetections.predictions": {"maxItems": MAX_CANDIDATES},
        },
    )


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
                deepstack_answer(example_found(), info, "custom" if missing else "detect", 32, EXAMPLE_REQUEST_ID),
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
    return {
        "tags": ["Instance"],
        "summary": "Which custom models are there?",
        "description": MODELS,
        "responses": {
            "200": answered("The models.", "DeepStackModels", DeepStackModels(models=[info.model])),
            **FAILURES.anywhere(),
        },
    }


def _samples(url: str, path: str) -> list[Json]:
    post = f"curl --fail-with-body {url}{path} -F image=@picture.jpg"
    return [
        shell("A picture", post),
        shell("Only sure boxes", f"{post} -F min_confidence=0.8"),
        python(PYTHON.format(url=url, path=path)),
    ]
