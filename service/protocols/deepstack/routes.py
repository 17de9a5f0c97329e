"""`/v1/vision`: the protocol of DeepStack and CodeProject.AI.

Frigate, Home Assistant, Blue Iris and Agent DVR speak it.
"""

import time
from collections.abc import Callable, Mapping

from flask import Blueprint, Response
from werkzeug.exceptions import NotFound

from service.engines import EngineInfo
from service.errors import InvalidValue, ServiceError
from service.pictures.form import Form
from service.pipeline.boxes import Boxes, Selection
from service.pipeline.detector import Detections, Detector, Wish
from service.protocols.exchange import json_answer, read_upload_form, reception
from service.protocols.native.query import read_selection
from service.protocols.native.routes import default_selection
from service.server.observe import request_id
from service.settings import Settings

MIN_CONFIDENCE = 0.4  # both servers' own default
GENERAL = "general"  # their name for whatever model a server has
NAMED_IN_MESSAGE = 3


def deepstack_problem(document: dict[str, object]) -> dict[str, object]:
    """Writes a problem this protocol's way; the HTTP status says the same as `code`."""
    return {"success": False, "error": document["detail"], "code": document["status"], "predictions": [], "count": 0}


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
