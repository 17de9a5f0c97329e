"""The headers of requests and answers, as OpenAPI says them."""

import re

from framefleet.wire.timing import STAGES
from service.openapi.shapes import Json, ref

REQUEST_ID = "X-Request-ID"
EXAMPLE_REQUEST_ID = "camera-7-000123"
SANE_ID = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}")


def answer_headers() -> Json:
    """Every header that an answer may carry, by the name it is referred to with."""
    timing = ", ".join(rf'{name};dur=[0-9]+\.[0-9]+(;desc="[a-z0-9 ]+")?' for name in STAGES)
    return {
        REQUEST_ID: {
            "description": "The request's id, as it stands in the log: the one sent if it was sane, else a new one.",
            "required": True,
            "schema": {"type": "string", "pattern": f"^{SANE_ID.pattern}$"},
            "example": EXAMPLE_REQUEST_ID,
        },
        "X-Instance": {
            "description": "The instance that answered.",
            "required": True,
            "schema": {"type": "string", "minLength": 1},
            "example": "gpu0",
        },
        "Server-Timing": {
            "description": f"Milliseconds of each stage ({', '.join(STAGES)}), and how many frames the engine "
            "took together; where one picture was sent.",
            "schema": {"type": "string", "pattern": f"^{timing}$"},
            "example": 'decode;dur=0.512, queue;dur=0.094, infer;dur=30.120;desc="batch of 1", post;dur=0.210',
        },
        "Retry-After": {
            "description": "Seconds to wait before the request is worth sending again.",
            "required": True,
            "schema": {"type": "integer", "minimum": 1},
            "example": 1,
        },
        "Allow": {
            "description": "The methods that the path takes.",
            "required": True,
            "schema": {"type": "string"},
            "example": "POST, OPTIONS",
        },
    }


def headers(*names: str) -> Json:
    """Refers to the headers that every answer carries, and to those named."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (REQUEST_ID, "X-Instance", *names)}


def request_id_parameter() -> Json:
    """The request's own id; any text is taken, so nothing is asked of it here."""
    return {
        "name": REQUEST_ID,
        "in": "header",
        "description": f"An id for this request, kept where it matches `{SANE_ID.pattern}`, else replaced.",
        "schema": {"type": "string"},
        "example": EXAMPLE_REQUEST_ID,
    }


def answered(description: str, schema: str, example: object, *more: str) -> Json:
    """An answer of JSON, with the headers named."""
    body = {"schema": ref(schema), "example": example}
    return {"description": description, "headers": headers(*more), "content": {"application/json": body}}
