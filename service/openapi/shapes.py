"""Schemas: from the records that answers are written with, or put together here where the settings have a say."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

Json = dict[str, Any]

TEXT: Json = {"type": "string"}
# Not Literal[True]: msgspec 0.19, which is allowed, too, knows only literal texts and numbers.
Yes = Annotated[bool, Meta(extra_json_schema={"enum": [True]})]
No = Annotated[bool, Meta(extra_json_schema={"enum": [False]})]
TYPES = {bool: "boolean", int: "integer", str: "string"}
REFERENCE = "#/components/schemas/{name}"


def schemas_of(*records: type, limits: Mapping[str, Json] | None = None, **others: Any) -> Json:
    """The schemas of records, and of those in them, by name.

    Args:
        records: classes of `msgspec`, or dataclasses; their first docstring line describes them, `Meta` their fields. A
            field with a default is always there; one that may be `msgspec.UNSET` is not.
        limits: what the settings or the model add to a field, by `Record.field`; `Record.field[]` is what a list holds.
        others: types that are no records, by the names of their schemas.
    """
    shapes, found = msgspec.json.schema_components((*others.values(), *records), ref_template=REFERENCE)
    found |= dict(zip(others, shapes, strict=False))
    schemas: Json = {name: _as_openapi(schema) for name, schema in found.items()}
    for path, more in (limits or {}).items():
        name, *steps = path.replace("[]", ".[]").split(".")
        shape = schemas[name]
        for step in steps:
            shape = shape["items"] if step == "[]" else shape["properties"][step]
        shape.update(more)
    return schemas


def _as_openapi(schema: Any) -> Any:
    """Says in the words of OpenAPI 3.0 what msgspec says in those of JSON Schema 2020-12."""
    if isinstance(schema, list):
        return [_as_openapi(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    said = {key: _as_openapi(value) for key, value in schema.items() if not _dropped(key, value)}
    if "properties" in said:
        members, asked = schema["properties"], schema.get("required", ())
        said["required"] = [name for name, member in members.items() if name in asked or "default" in member]
    if isinstance(said.get("description"), str):
        said["description"] = said["description"].partition("\n\n")[0]
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


def _dropped(key: str, value: object) -> bool:
    """Whether it is a record's title, which is its name again, or a default: what has one is answered all the same."""
    return key == "default" or (key == "title" and isinstance(value, str))


def record(description: str, properties: Json) -> Json:
    """An object that always has all of these members."""
    return {"type": "object", "description": description, "required": list(properties), "properties": properties}


def ref(name: str) -> Json:
    """Refers to a schema by its name."""
    return {"$ref": REFERENCE.format(name=name)}


def said(shape: Json, description: str) -> Json:
    """The same shape, with a word about what it is here."""
    return {**shape, "description": description}
