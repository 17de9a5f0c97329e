"""The native API and the first server's protocol, over one detector."""

from collections.abc import Sequence

import cv2
import msgspec
import numpy as np
from flask import Blueprint, Response, request
from msgspec.structs import asdict

from framefleet.draw import draw
from framefleet.wire import answers
from service.admission.visit import Visit
from service.engines import EngineInfo
from service.errors import InvalidValue, RequestError, ServiceError
from service.pictures.form import Form
from service.pipeline.boxes import Box, Boxes, Selection
from service.pipeline.detector import Detections, Detector, Wish
from service.problems import problem_document
from service.protocols.exchange import json_answer, read_upload_form, reception
from service.protocols.native.query import read_selection
from service.server.observe import request_id
from service.settings import Settings

# What the first server computed, for ever: its clients depend on these figures.
FIRST_SERVER = Selection(conf=0.35, iou=0.4, agnostic=True)
SCORE_DIGITS = 4
PIXEL_DIGITS = 2
MS_DIGITS = 3
JPEG_QUALITY = 90


def detect_routes(detector: Detector, settings: Settings) -> Blueprint:
    """Makes `/predict` and `/v1/detect`."""
    routes = Blueprint("detect", __name__)
    defaults = default_selection(settings)
    take_in = reception(detector, settings)

    @routes.post("/predict")
    def predict() -> Response:
        with take_in() as visit:
            found = _single(detector, _data(read_upload_form(visit, 1)), Wish(FIRST_SERVER, clip=False), visit)
        return _answer(msgspec.json.encode(first_server_answer(found.boxes)), "application/json", found)

    @routes.post("/v1/detect")
    def detect() -> Response:
        info = detector.batcher.info
        selection = read_selection(request.args, defaults, info.classes)
        drawn = _wants_picture()
        with take_in() as visit:
            form = read_upload_form(visit, max_files(settings))
            names, pictures = [upload.name for upload in form.files], _data(form)
            if len(pictures) > 1:
                return _several(detector, names, pictures, Wish(selection), visit)
            found = _single(detector, pictures, Wish(selection, draw=drawn), visit)
            if drawn:
                return _answer(annotated(found, info.classes), "image/jpeg", found)
        document = native_answer(found, info, request_id())
        return _answer(msgspec.json.encode(document), "application/json", found)

    return routes


def _wants_picture() -> bool:
    if request.headers.get("Accept", "*/*") in ("*/*", "application/json"):  # as almost always, and soon told
        return False
    return request.accept_mimetypes.best_match(["application/json", "image/jpeg"]) == "image/jpeg"


def default_selection(settings: Settings) -> Selection:
    """What holds where a request does not say."""
    return Selection(conf=settings.conf, iou=settings.iou, max_det=settings.max_det)


def max_files(settings: Settings) -> int:
    """Pictures of one form at most: more than there are places could never be admitted."""
    return min(settings.max_files, settings.queue_size)


def first_server_answer(boxes: Boxes) -> answers.FirstServerDetections:
    """Writes boxes as the first server did: whole pixels (Python's `round`), score to 2 digits, class id as key."""
    return [{str(box.class_id): [*(round(side) for side in box.corners), round(box.score, 2)]} for box in boxes]


def native_answer(found: Detections, info: EngineInfo, request_id: str) -> answers.Detections:
    """Writes detections as `/v1/detect` answers them."""
    return answers.Detections(
        detections=tuple(_detection(box, info.classes) for box in found.boxes),
        image=answers.PictureSize(found.frame.width, found.frame.height),
        timings_ms=answers.Timings(*(round(ms, MS_DIGITS) for ms in found.stages.ms)),
        model=answers.ModelName(info.model, info.input_size),
        request_id=request_id,
    )


def _detection(box: Box, classes: tuple[str, ...]) -> answers.Detection:
    x1, y1, x2, y2 = box.corners
    corners = round(x1, PIXEL_DIGITS), round(y1, PIXEL_DIGITS), round(x2, PIXEL_DIGITS), round(y2, PIXEL_DIGITS)
    return answers.Detection(classes[box.class_id], box.class_id, round(box.score, SCORE_DIGITS), corners)


def annotated(found: Detections, classes: tuple[str, ...]) -> bytes:
    """Draws the detections into the picture, which is not copied for that; a JPEG file."""
    pixels = found.frame.pixels
    shrunk = np.array([pixels.shape[1] / found.frame.width, pixels.shape[0] / found.frame.height] * 2)
    boxes = [
        answers.Detection(
            classes[box.class_id], box.class_id, box.score, tuple((np.array(box.corners) * shrunk).tolist())
        )
        for box in found.boxes
    ]
    draw(pixels, boxes)
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def _data(form: Form) -> list[bytes | memoryview]:
    """The pictures, taken out of the form: what holds them is emptied while they are decoded."""
    data = [upload.data for upload in form.files]
    form.files.clear()
    return data


def _single(detector: Detector, pictures: list[bytes | memoryview], wish: Wish, visit: Visit) -> Detections:
    (found,) = detector.detect(pictures, wish, visit)
    if isinstance(found, ServiceError):
        raise found
    return found


def _several(
    detector: Detector, names: Sequence[str], pictures: list[bytes | memoryview], wish: Wish, visit: Visit
) -> Response:
    """Answers each file of a form; one that fails has its problem in its place."""
    found_in = detector.detect(pictures, wish, visit)
    failures = [found for found in found_in if isinstance(found, ServiceError)]
    if len(failures) == len(found_in):
        raise _in_one(names, failures)
    info, own_id = detector.batcher.info, request_id()
    documents = [
        problem_document(found) if isinstance(found, ServiceError) else native_answer(found, info, own_id)
        for found in found_in
    ]
    return json_answer(several_answers(names, documents, own_id))


def several_answers(
    names: Sequence[str], documents: Sequence[answers.Detections | answers.Problem], request_id: str
) -> answers.SeveralDetections:
    """Writes the answers to a form's files, each with its name."""
    # As `NamedDetections` and `NamedProblem`, but with the name where people look for it.
    results = [{"name": name, **asdict(document)} for name, document in zip(names, documents, strict=True)]
    return answers.SeveralDetections(results, request_id)


def _in_one(names: Sequence[str], failures: Sequence[ServiceError]) -> ServiceError:
    """The one error of a form of which nothing can be answered: ours if any is, as then it may be sent again."""
    for failure in failures:
        if not isinstance(failure, RequestError):
            return failure
    reasons = "; ".join(f"{name}: {failure}" for name, failure in zip(names, failures, strict=True))
    return InvalidValue(f"form: none of its {len(failures)} files can be answered: {reasons}")


def _answer(body: bytes, content_type: str, found: Detections) -> Response:
    response = Response(body, content_type=content_type)
    response.headers["Server-Timing"] = found.stages.server_timing(found.batch_size)
    return response
