"""Schemas: from the records that answers are written with, or put together here where the settings have a say."""

from collections.abc import Mapping
from typing import Any

import msgspec

Json = dict[str, Any]

TEXT: Json = {"type": "string"}
COUNT: Json = {"type": "integer", "minimum": 0}
REQUEST: Json = {"type": "string", "description": "The id under which the log knows the request."}
INPUT_SIZE: Json = {
    "type": "array",
    "description": "The model's input: height and width in pixels.",
    "minItems": 2,
    "maxItems": 2,
    "items": {"type": "integer", "minimum": 1},
}
TYPES = {bool: "boolean", int: "integer", str: "string"}
REFERENCE = "#/components/schemas/{name}"


def schemas_of(*records: type, limits: Mapping[str, Json] | None = None) -> Json:
    """The schemas of records, and of those in them, by name.

    Args:
        records: classes of `msgspec`, or dataclasses; their first docstring line describes them, `Meta` their fields.
        limits: what the settings or the model add to a field, by `Record.field`; `Record.field[]` is what a list holds.
    """
    _, found = msgspec.json.schema_components(records, ref_template=REFERENCE)
    schemas: Json = {name: _as_openapi(schema) for name, schema in found.items()}
    for field, more in (limits or {}).items():
        record_name, _, name = field.partition(".")
        shape = schemas[record_name]["properties"][name.removesuffix("[]")]
        (shape["items"] if name.endswith("[]") else shape).update(more)
    return schemas


def _as_openapi(schema: Any) -> Any:
    """Says in the words of OpenAPI 3.0 what msgspec says in those of JSON Schema 2020-12."""
    if isinstance(schema, list):
        return [_as_openapi(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    said = {key: _as_openapi(value) for key, value in schema.items() if not (key == "title" and isinstance(value, str))}
    if isinstance(about := said.get("description"), str):
        said["description"] = about.partition("\n\n")[0]
    if "prefixItems" in said:  # all alike: pixels, or sides
        said["items"] = said.pop("prefixItems")[0]
    if "enum" in said:
        said["type"] = TYPES[type(said["enum"][0])]
    if "$ref" in said and len(said) > 1:
        said["allOf"] = [{"$ref": said.pop("$ref")}]
    if {"type": "null"} in said.get("anyOf", ()):
        (other,) = (part for part in said.pop("anyOf") if part != {"type": "null"})
        said |= {**other, "nullable": True}
    return said


def record(description: str, properties: Json) -> Json:
    """An object that always has all of these members."""
    return {"type": "object", "description": description, "required": list(properties), "properties": properties}


def ref(name: str) -> Json:
    """Refers to a schema by its name."""
    return {"$ref": REFERENCE.format(name=name)}


def said(shape: Json, description: str) -> Json:
    """The same shape, with a word about what it is here."""
    return {**shape, "description": description}
