"""Pieces that the schemas are made of."""

from typing import Any

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


def record(description: str, properties: Json) -> Json:
    """An object that always has all of these members."""
    return {"type": "object", "description": description, "required": list(properties), "properties": properties}


def ref(name: str) -> Json:
    """Refers to a schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def said(shape: Json, description: str) -> Json:
    """The same shape, with a word about what it is here."""
    return {**shape, "description": description}
