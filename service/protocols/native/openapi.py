"""`/v1/detect` and `/predict` in the OpenAPI document.

`one_picture`, `several_pictures`: the bodies that a detection takes, with the instance's limits.

`detect_schemas`: what the detecting routes take and answer.

`query_parameters`, `header_parameters`: the parameters of a detection as OpenAPI says them, from the table that
validates them.

`detect_samples`, `predict_samples`: calls to copy: each runs as it stands, beside a `picture.jpg`.
"""

import base64

from framefleet.wire.answers import (
    Detections,
    FirstServerDetections,
    NamedDetections,
    NamedProblem,
    SeveralDetections,
)
from service.engines import EngineInfo
from service.openapi.examples import example_found, python, shell
from service.openapi.headers import EXAMPLE_REQUEST_ID, headers, request_id_parameter
from service.openapi.problems import detection_problems, known_codes
from service.openapi.shapes import Json, record, ref, said, schemas_of
from service.pictures.raw_frame import CHANNELS, RawFrame
from service.problems import make_problem
from service.protocols.native.query import FLAGS, MAX_CANDIDATES, PARAMETERS, TIMEOUT, Parameter
from service.protocols.native.routes import (
    FIRST_SERVER,
    default_selection,
    first_server_answer,
    max_files,
    native_answer,
    several_answers,
)
from service.settings import Settings

PICTURE_TYPES = "image/jpeg, image/png, image/webp, image/bmp"
FORM_FIELD = "image"  # any name is taken; this is what the examples call it
EXAMPLE_SIDES = (2, 4)  # height and width of the example frame
PYTHON_DETECT = """\
import requests

with open("picture.jpg", "rb") as picture:
    answer = requests.post("{url}/v1/detect", params={{"conf": 0.5}}, data=picture, timeout=10)
answer.raise_for_status()
for found in answer.json()["detections"]:
    print(found["label"], found["score"], found["box"])
"""
PYTHON_PREDICT = """\
import base64, json

import cv2, requests

frame = cv2.imread("picture.jpg")
image = base64.b64encode(frame.tobytes()).decode()
body = json.dumps({{"height": frame.shape[0], "width": frame.shape[1], "image": image}})
print(requests.post("{url}/predict", body, timeout=10).json())
"""
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
            "one picture": {"value": native_answer(example_found(), info, EXAMPLE_REQUEST_ID)},
            "a form with two files": {"value": _example_of_several(info)},
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
    answer = {"schema": ref("FirstServerDetections"), "example": first_server_answer(example_found().boxes)}
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


def detect_samples(url: str) -> list[Json]:
    """Ways to call `/v1/detect`."""
    post = f"curl --fail-with-body {url}/v1/detect"
    return [
        shell("One picture", f"{post} --data-binary @picture.jpg"),
        shell(
            "Only sure boxes, soon or not at all",
            f"{post}'?conf=0.8&max_det=5' -H 'X-Timeout-Ms: 2000' --data-binary @picture.jpg",
        ),
        shell("Several pictures", f"{post} -F image=@picture.jpg -F image=@picture.jpg"),
        shell(
            "The picture with its boxes drawn",
            f"{post} -H 'Accept: image/jpeg' --data-binary @picture.jpg -o boxes.jpg",
        ),
        python(PYTHON_DETECT.format(url=url)),
    ]


def predict_samples(url: str) -> list[Json]:
    """Ways to call `/predict`."""
    return [
        shell("A picture file", f"curl --fail-with-body {url}/predict --data-binary @picture.jpg"),
        python(PYTHON_PREDICT.format(url=url)),
    ]


def one_picture(settings: Settings) -> Json:
    """A body with one picture in it."""
    return _body(settings, 1, "One picture.")


def several_pictures(settings: Settings) -> Json:
    """A body with one picture in it, or a form with several."""
    most = max_files(settings)
    return _body(settings, most, f"One picture, or a form with up to {most} of them.")


def example_frame() -> Json:
    """A frame that is small enough to be read, and real enough to be answered."""
    height, width = EXAMPLE_SIDES
    pixels = bytes(range(0, 10 * height * width * CHANNELS, 10))
    return {"height": height, "width": width, "image": base64.b64encode(pixels).decode()}


def _body(settings: Settings, most: int, what: str) -> Json:
    picture = {"type": "string", "format": "binary", "maxLength": settings.max_body_bytes}
    file = {"type": "string", "format": "binary"}
    files = {"type": "array", "description": "Pictures, as files.", "minItems": 1, "maxItems": most, "items": file}
    form = record("A form with pictures as files, whatever its fields are called.", {FORM_FIELD: files})
    return {
        "description": (
            f"{what} It is recognised by its first bytes: JPEG, PNG or BMP of any colour type, or lossy WebP "
            "(transparency and an EXIF orientation are ignored), or JSON with raw pixels. At most "
            f"{settings.max_body_bytes:,} bytes in all, {settings.max_pixels:,} pixels a picture and "
            f"{settings.max_side:,} pixels along a side."
        ),
        "required": True,
        "content": {
            "image/jpeg": {"schema": said(picture, "A JPEG file.")},
            "image/png": {"schema": said(picture, "A PNG file.")},
            "image/webp": {"schema": said(picture, "A lossy WebP file; of an animation the first picture.")},
            "image/bmp": {"schema": said(picture, "A BMP file without compression.")},
            "multipart/form-data": {
                "schema": form,
                "encoding": {FORM_FIELD: {"contentType": PICTURE_TYPES}},
            },
            "application/json": {"schema": ref("RawFrame"), "example": example_frame()},
            "application/octet-stream": {"schema": said(picture, "Any of these kinds, without saying which.")},
        },
    }


def query_parameters(settings: Settings, classes: tuple[str, ...]) -> list[Json]:
    """The query parameters, with the instance's own defaults.

    Args:
        settings: the instance's settings.
        classes: the model's class names by id.
    """
    defaults = default_selection(settings)
    return [_query(parameter, getattr(defaults, parameter.name), classes) for parameter in PARAMETERS]


def header_parameters(settings: Settings) -> list[Json]:
    """The request headers that a detection reads."""
    timeout = {
        "name": TIMEOUT.name,
        "in": "header",
        "description": f"{_sentence(TIMEOUT.why)} The instance's own is {settings.deadline_ms:g} ms.",
        "schema": {**_limits(TIMEOUT), "default": min(settings.deadline_ms, TIMEOUT.high)},
        "example": min(settings.deadline_ms, TIMEOUT.high),
    }
    return [timeout, request_id_parameter()]


def _query(parameter: Parameter, default: object, classes: tuple[str, ...]) -> Json:
    if parameter.kind == "classes":
        return _classes(parameter, classes)
    notes = f" Written as {_words(list(FLAGS))}." if parameter.kind == "boolean" else ""
    return {
        "name": parameter.name,
        "in": "query",
        "description": _sentence(parameter.why) + notes,
        "schema": {**_limits(parameter), "default": default},
        "example": default,
    }


def _classes(parameter: Parameter, classes: tuple[str, ...]) -> Json:
    # A name with a comma in it can't be told from two names, one with spaces around it is trimmed: both have an id.
    names = [name for name in classes if name == name.strip() and name and "," not in name]
    ids = [str(class_id) for class_id in range(len(classes)) if str(class_id) not in names]
    listed = ", ".join(f"{class_id} `{name}`" for class_id, name in enumerate(classes))
    return {
        "name": parameter.name,
        "in": "query",
        "description": f"{_sentence(parameter.why)} The model's classes: {listed}.",
        "style": "form",
        "explode": False,
        "schema": {"type": "array", "minItems": 1, "items": {"type": "string", "enum": [*names, *ids]}},
        "example": (names or ids)[:1],
    }


def _limits(parameter: Parameter) -> Json:
    if parameter.kind == "boolean":
        return {"type": "boolean"}
    return {"type": parameter.kind, "minimum": parameter.low, "maximum": parameter.high}


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:] + "."


def _words(options: list[str]) -> str:
    return ", ".join(options[:-1]) + " or " + options[-1]


def detect_schemas(settings: Settings, info: EngineInfo) -> Json:
    """What the detecting routes take and answer, by name."""
    side, most = {"maximum": settings.max_side}, {"maxItems": MAX_CANDIDATES}
    either = {"items": {"anyOf": [ref("NamedDetections"), ref("NamedProblem")]}}
    return schemas_of(
        RawFrame,
        Detections,
        NamedDetections,
        NamedProblem,
        SeveralDetections,
        FirstServerDetections=FirstServerDetections,
        limits={
            "RawFrame": {"example": example_frame()},
            "RawFrame.height": side,
            "RawFrame.width": side,
            "Detection.class_id": {"maximum": len(info.classes) - 1},
            "Detection.box[]": {"minimum": 0},
            "Detections.detections": most,
            "NamedDetections.detections": most,
            "PictureSize.width": side,
            "PictureSize.height": side,
            "NamedProblem.code": {"enum": known_codes()},
            "SeveralDetections.results": {"maxItems": max_files(settings), **either},
            "FirstServerDetections": most,
        },
    )


def _example_of_several(info: EngineInfo) -> SeveralDetections:
    """The answer to a form with two files, one of them broken."""
    detail = "image: the PNG ends before its IEND chunk; send a whole PNG file"
    problem = make_problem(400, "malformed_body", "Malformed body", detail, EXAMPLE_REQUEST_ID)
    found = native_answer(example_found(), info, EXAMPLE_REQUEST_ID)
    return several_answers(("left.jpg", "right.png"), (found, problem), EXAMPLE_REQUEST_ID)
