"""Holds real answers against an OpenAPI document, strictly: what it does not mention may not be in them."""

import json
from collections.abc import Mapping
from typing import Any

import jsonschema_rs

Json = dict[str, Any]


class Document:
    """An OpenAPI document and what it says of answers."""

    def __init__(self, document: Json) -> None:
        self.json = document

    def operation(self, method: str, path: str) -> Json:
        found: Json = self.json["paths"][path][method.lower()]
        return found

    def resolved(self, value: Json) -> Json:
        """What a reference refers to."""
        if "$ref" not in value:
            return value
        found = self.json
        for step in value["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        return found

    def answer(self, method: str, path: str, status: int) -> Json:
        answers = self.operation(method, path)["responses"]
        assert str(status) in answers, f"{method} {path}: {status} is not documented"
        return self.resolved(answers[str(status)])

    def validate(self, schema: Json, value: object) -> None:
        """Raises where the value is not of the schema, or has members that the schema does not name."""
        components = {"schemas": {name: _closed(shape) for name, shape in self.json["components"]["schemas"].items()}}
        jsonschema_rs.Draft4Validator({"allOf": [_closed(schema)], "components": components}).validate(value)

    def check(self, method: str, path: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Raises where an answer's status, headers, media type or body is not as documented."""
        said = self.answer(method, path, status)
        for name, about in said["headers"].items():
            header = self.resolved(about)
            assert name in headers or not header.get("required"), f"{method} {path} {status}: lacks {name}"
            if name in headers:
                value = headers[name]
                self.validate(header["schema"], int(value) if header["schema"]["type"] == "integer" else value)
        media = headers["Content-Type"]
        assert media in said["content"], f"{method} {path} {status}: {media} is not documented"
        if media.endswith("json"):
            self.validate(said["content"][media]["schema"], json.loads(body))


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(part) for key, part in schema.items()}
    # Objects that name their members name all of them; the document itself is described elsewhere.
    if closed.get("type") == "object" and "required" in closed and "openapi" not in closed["required"]:
        closed["additionalProperties"] = False
    return closed
