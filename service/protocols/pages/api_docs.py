"""The API's own description: `/openapi.json` for tools, and the same document rendered at `/docs` for people.

`docs_page`: what the page at `/docs` shows: the OpenAPI document, flattened into the rows of its tables.

`kind_of`, `limits_of`: schemas in words, for the tables of the page at `/docs`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, request

from service.host import in_address
from service.openapi.shapes import Json
from service.pipeline.detector import Detector
from service.protocols.document import openapi_document
from service.protocols.exchange import json_answer
from service.protocols.pages.templates import STATIC, templates
from service.settings import Settings

MOST_WORDS = 12  # more are listed in the description, or are too many to read
FORMATS = {"binary": "file", "byte": "base64 text"}
# Nothing but our own style sheet: no script, no picture, no font, nothing from elsewhere.
POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@dataclass(frozen=True, slots=True)
class Row:
    """One parameter, header or member: `kind` in words, `schema` the name of the one it links to, or empty."""

    name: str
    kind: str
    schema: str
    limits: str
    default: str
    required: bool
    description: str


@dataclass(frozen=True, slots=True)
class Content:
    """A body of one `media` type: the `schemas` it may have by name, a word on it, and `examples` as (label, text)."""

    media: str
    schemas: tuple[str, ...]
    description: str
    examples: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """What comes back with one `status`; `codes` are the problems it may carry and why, `retry` when it says when."""

    status: str
    phrase: str
    description: str
    contents: tuple[Content, ...]
    headers: tuple[Row, ...]
    codes: tuple[tuple[str, str], ...]
    retry: bool


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path; `samples` are (label, text)."""

    anchor: str
    method: str
    path: str
    summary: str
    description: str
    parameters: tuple[Row, ...]
    body: str
    bodies: tuple[Content, ...]
    answers: tuple[AnswerRow, ...]
    samples: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """The operations that share a tag."""

    name: str
    description: str
    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class Schema:
    """A named shape: its members where it is an object, else what it is."""

    name: str
    description: str
    kind: str
    members: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """The whole page; `paragraphs` introduce it."""

    title: str
    version: str
    paragraphs: tuple[str, ...]
    sections: tuple[Section, ...]
    problems: tuple[AnswerRow, ...]
    schemas: tuple[Schema, ...]


def api_docs_routes(detector: Detector, settings: Settings) -> Blueprint:
    """Makes `/openapi.json`, `/docs` and its style sheet."""
    routes = Blueprint("api_docs", __name__)
    info = detector.batcher.info
    style = (STATIC / "docs.css").read_bytes()
    template = templates().get_template("docs.html")

    def address() -> str:
        # A Host header that is none leaves an empty host; the examples then name the instance itself.
        return request.root_url.rstrip("/") if request.host else f"http://{in_address(settings.host, settings.port)}"

    @routes.get("/openapi.json")
    def openapi() -> Response:
        return json_answer(openapi_document(settings, info, address()))

    @routes.get("/docs")
    def docs() -> Response:
        page = docs_page(openapi_document(settings, info, address()))
        answer = Response(template.render(page=page), content_type="text/html; charset=utf-8")
        answer.headers["Content-Security-Policy"] = POLICY
        answer.headers["Referrer-Policy"] = "no-referrer"
        answer.headers["X-Content-Type-Options"] = "nosniff"
        return answer

    @routes.get("/docs.css")
    def docs_style() -> Response:
        answer = Response(style, content_type="text/css; charset=utf-8")
        answer.headers["Cache-Control"] = "no-cache"
        return answer

    return routes


def docs_page(document: Json) -> Page:
    """Flattens an OpenAPI document."""
    return Page(
        title=document["info"]["title"],
        version=document["info"]["version"],
        paragraphs=tuple(document["info"]["description"].split("\n\n")),
        sections=tuple(_section(document, tag) for tag in document["tags"]),
        problems=tuple(
            _answer(document, name.removeprefix("Problem"), answer)
            for name, answer in document["components"]["responses"].items()
            if name.startswith("Problem")
        ),
        schemas=tuple(_schema(name, schema) for name, schema in document["components"]["schemas"].items()),
    )


def _section(document: Json, tag: Json) -> Section:
    operations = [
        _operation(document, method, path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if tag["name"] in operation["tags"]
    ]
    return Section(tag["name"], tag["description"], tuple(operations))


def _operation(document: Json, method: str, path: str, operation: Json) -> Operation:
    body = operation.get("requestBody", {})
    return Operation(
        anchor=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        description=operation.get("description", ""),
        parameters=tuple(_row(given["name"], given, given["schema"]) for given in operation.get("parameters", [])),
        body=body.get("description", ""),
        bodies=_contents(body.get("content", {})),
        answers=tuple(_answer(document, status, answer) for status, answer in operation["responses"].items()),
        samples=tuple((sample["label"], sample["source"]) for sample in operation["x-codeSamples"]),
    )


def _answer(document: Json, status: str, answer: Json) -> AnswerRow:
    answer = _resolved(document, answer)
    problem = answer["content"].get("application/problem+json", {})
    return AnswerRow(
        status=status,
        phrase=HTTPStatus(int(status)).phrase,
        description=answer["description"],
        contents=_contents(answer["content"]),
        headers=tuple(
            _row(name, header, header["schema"])
            for name, header in ((name, _resolved(document, header)) for name, header in answer["headers"].items())
        ),
        codes=tuple((code, example["value"]["detail"]) for code, example in problem.get("examples", {}).items()),
        retry="Retry-After" in answer["headers"],
    )


def _contents(content: Json) -> tuple[Content, ...]:
    return tuple(
        Content(media, tuple(_names(body["schema"])), body["schema"].get("description", ""), tuple(_examples(body)))
        for media, body in content.items()
    )


def _examples(body: Json) -> Iterator[tuple[str, str]]:
    if "example" in body:
        yield "Example", _pretty(body["example"])
    for label, example in body.get("examples", {}).items():
        yield f"Example: {label}", _pretty(example["value"])


def _schema(name: str, schema: Json) -> Schema:
    return Schema(name, schema.get("description", ""), kind_of(schema), tuple(_members(schema, "")))


def _members(schema: Json, prefix: str) -> Iterator[Row]:
    """The members of an object, and those of the objects in it under dotted names."""
    for name, shape in schema.get("properties", {}).items():
        required = name in schema.get("required", ())
        yield _row(prefix + name, {"required": required, "description": shape.get("description", "")}, shape)
        yield from _members(shape, f"{prefix}{name}.")


def _row(name: str, about: Json, schema: Json) -> Row:
    return Row(
        name=name,
        kind=kind_of(schema),
        schema=next(_names(schema), ""),
        limits=limits_of(schema),
        default=figure(schema["default"]) if "default" in schema else "",
        required=about.get("required") is True,
        description=about.get("description", ""),
    )


def _names(schema: Json) -> Iterator[str]:
    """The named schemas that a shape is, may be, or is a list of."""
    if "$ref" in schema:
        yield schema["$ref"].rpartition("/")[2]
    for part in (*schema.get("anyOf", ()), *schema.get("allOf", ())):
        yield from _names(part)
    if "items" in schema:
        yield from _names(schema["items"])


def _resolved(document: Json, value: Json) -> Json:
    if "$ref" not in value:
        return value
    found: Any = document
    for step in value["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return dict(found)


def _pretty(example: object) -> str:
    return json.dumps(example, indent=2, ensure_ascii=False)


def kind_of(schema: Json) -> str:
    """What a value is: `number`, `list of text`, `object`, the name of a schema."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    for either in ("anyOf", "allOf"):
        if either in schema:
            return " or ".join(kind_of(part) for part in schema[either])
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {kind_of(schema['items'])}"
    if kind == "string":
        return FORMATS.get(schema.get("format", ""), "text")
    return {"integer": "whole number", "boolean": "true or false"}.get(kind, str(kind))


def limits_of(schema: Json) -> str:
    """What a value is held to: a range, a length, the words there are."""
    said = []
    if "enum" in schema:
        words = [str(word) for word in schema["enum"]]
        said.append(", ".join(words) if len(words) <= MOST_WORDS else f"one of {len(words)} words")
    if "minimum" in schema and "maximum" in schema:
        said.append(f"{figure(schema['minimum'])} to {figure(schema['maximum'])}")
    elif "minimum" in schema:
        said.append(f"{figure(schema['minimum'])} or more")
    if "items" in schema:
        said += [_length(schema), limits_of(schema["items"])]
    return "; ".join(filter(None, said))


def _length(schema: Json) -> str:
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    if most is None:
        return f"{least} or more" if least else ""
    return f"exactly {most}" if least == most else f"{least} to {most} of them"


def figure(value: float | bool) -> str:
    """A number as people write it: `5,000`, `0.35`; or true, or false."""
    return str(value).lower() if isinstance(value, bool) else f"{value:,.12g}"
