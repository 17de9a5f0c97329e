"""What schemathesis cannot read in the document: real pictures, and tensors whose bytes match their shapes."""

import base64
import json
from http import HTTPStatus

import cv2
import hypothesis.strategies as st
import jsonschema_rs
import numpy as np
import schemathesis
from schemathesis import Case, CheckContext, HookContext, Response
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.core.parameters import ParameterLocation

from service.protocols.native.query import NUMBER, TIMEOUT
from service.protocols.oip.routes import HEADER_LENGTH

LONGEST_SIDE = 24
SHORT_TIMEOUT_MS = 2000  # a request that allows less may be late on a busy machine


@st.composite
def pictures(draw: st.DrawFn, suffix: str) -> bytes:
    """Real encoded pictures, grey and coloured, of small sizes."""
    height, width = draw(st.integers(1, LONGEST_SIDE)), draw(st.integers(1, LONGEST_SIDE))
    shape = (height, width, 3) if draw(st.booleans()) else (height, width)
    pixels = np.random.default_rng(draw(st.integers(0, 2**16))).integers(0, 256, shape, np.uint8)
    return cv2.imencode(suffix, pixels, [cv2.IMWRITE_WEBP_QUALITY, 90] if suffix == ".webp" else [])[1].tobytes()


schemathesis.openapi.media_type("image/jpeg", pictures(".jpg"))
schemathesis.openapi.media_type("image/png", pictures(".png"))
schemathesis.openapi.media_type("image/webp", pictures(".webp"))
schemathesis.openapi.media_type("image/bmp", pictures(".bmp"))
schemathesis.openapi.media_type("application/octet-stream", st.one_of(map(pictures, (".jpg", ".png", ".webp", ".bmp"))))


@schemathesis.hook
def before_call(context: HookContext, case: Case, kwargs: dict[str, object]) -> None:
    """Gives valid bodies what no schema can say: pixels for a frame's sides, a form's files, a tensor's bytes."""
    if case.operation.path.endswith("/infer"):
        _make_inferable(case, kwargs)
    elif isinstance(case.body, dict) and _is_positive(case, ParameterLocation.BODY):
        if case.media_type == "application/json":
            size = case.body["height"] * case.body["width"] * 3
            case.body = {**case.body, "image": base64.b64encode(bytes(size)).decode()}
        elif isinstance(picture := case.body.get("image"), bytes):
            # Files are drawn as values and would be sent without the name that makes them files.
            number = 1 + len(picture) % 3 if case.operation.path == "/v1/detect" else 1
            texts = [(name, (None, str(value))) for name, value in case.body.items() if name == "min_confidence"]
            kwargs["files"] = [("image", (f"{place}.jpg", picture)) for place in range(number)] + texts


def _make_inferable(case: Case, kwargs: dict[str, object]) -> None:
    if not _is_positive(case, ParameterLocation.BODY):
        _repair_input(case)
        return
    side = _frame_side(case) if case.operation.path.startswith("/v2/models/yolov5") else 0
    # Sent beside the case, whose own body would be held against the schema again: bytes never pass, numbers are many.
    if case.media_type == "application/json":
        case.headers.pop(HEADER_LENGTH, None)
        tensor = _frame_as_json(side) if side else _pictures_as_json(case.body["inputs"][0]["shape"])
        outputs = _each_once(case.body.get("outputs", []))
        kwargs["data"] = json.dumps({**case.body, "inputs": [tensor], "outputs": outputs}).encode()
    elif isinstance(case.body, bytes):
        tensor, data = _frame_as_bytes(side) if side else _picture_as_bytes(case.body)
        head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": len(data)}}]}).encode()
        kwargs["data"] = head + data
        if _is_positive(case, ParameterLocation.HEADER):
            case.headers[HEADER_LENGTH] = str(len(head))


def _repair_input(case: Case) -> None:
    """Gives a wrong body a right input where that is not what is wrong with it, so that the wrong thing is reached."""
    given = case.body.get("inputs") if isinstance(case.body, dict) else None
    if case.operation.path.startswith("/v2/models/detect") and isinstance(given, list) and len(given) == 1:
        schema = case.operation.schema.raw_schema["components"]["schemas"]["OipDetectInput"]
        if jsonschema_rs.Draft4Validator(schema).is_valid(given[0]):
            case.body = {**case.body, "inputs": [_pictures_as_json(given[0]["shape"])]}


def _frame_side(case: Case) -> int:
    described = case.operation.schema.raw_schema["paths"]["/v2/models/yolov5"]["get"]["responses"]["200"]
    return int(described["content"]["application/json"]["example"]["inputs"][0]["shape"][-1])


def _pictures_as_json(shape: list[int]) -> dict[str, object]:
    count = 1 + shape[0] % 3
    picture = base64.b64encode(cv2.imencode(".png", np.zeros((2, 3), np.uint8))[1].tobytes()).decode()
    sides = [count, 1] if len(shape) > 1 else [count]
    return {"name": "image", "datatype": "BYTES", "shape": sides, "data": [picture] * count}


def _picture_as_bytes(picture: bytes) -> tuple[dict[str, object], bytes]:
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1]}
    return tensor, len(picture).to_bytes(4, "little") + picture


def _frame_as_json(side: int) -> dict[str, object]:
    return {**_frame_as_bytes(side)[0], "data": [0] * (side**2 * 3)}


def _frame_as_bytes(side: int) -> tuple[dict[str, object], bytes]:
    return {"name": "images", "datatype": "UINT8", "shape": [1, side, side, 3]}, bytes(side**2 * 3)


def _each_once(outputs: list[dict[str, object]]) -> list[dict[str, object]]:
    return list({output["name"]: output for output in outputs}.values())


@schemathesis.hook
def filter_failure(context: HookContext, failure: Failure, case: Case, response: Response) -> bool:
    """Lets an unknown header pass, as HTTP asks.

    The check does so, too, but not beside a header with a number in it, whose text it takes for a wrong type.
    """
    return not (isinstance(failure, AcceptedNegativeData) and _only_an_unknown_header(case))


def _only_an_unknown_header(case: Case) -> bool:
    known = {parameter.name.lower() for parameter in case.operation.headers}
    unknown = {name.lower() for name in case.headers} - known - {"content-type"}
    others = [location for location in case.meta.components if location is not ParameterLocation.HEADER]
    timeout = str(case.headers.get(TIMEOUT.name, TIMEOUT.low))
    valid = NUMBER.fullmatch(timeout) and TIMEOUT.low <= float(timeout) <= TIMEOUT.high
    return bool(unknown and valid and all(_is_positive(case, location) for location in others))


@schemathesis.check
def a_deadline_is_missed_only_where_one_was_set(ctx: CheckContext, response: Response, case: Case) -> None:
    """A 504 answers a short X-Timeout-Ms, or an inference request's own short timeout, and nothing else."""
    if response.status_code == HTTPStatus.GATEWAY_TIMEOUT:
        parameters = case.body.get("parameters", {}) if isinstance(case.body, dict) else {}
        allowed_ms = float(str(case.headers.get(TIMEOUT.name, SHORT_TIMEOUT_MS)))
        own_ms = (parameters.get("timeout") or SHORT_TIMEOUT_MS * 1000) / 1000
        assert min(allowed_ms, own_ms) < SHORT_TIMEOUT_MS, "504 to a request that had time"


def _is_positive(case: Case, location: ParameterLocation) -> bool:
    if case.meta is None:
        return False
    # What is drawn beside an example of something else has no mode of its own.
    return case.meta.components.get(location, case.meta.generation).mode.is_positive
