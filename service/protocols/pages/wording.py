"""Schemas in words, for the tables of the page at `/docs`."""

from typing import Any

Json = dict[str, Any]

MOST_WORDS = 12  # more are listed in the description, or are too many to read
FORMATS = {"binary": "file", "byte": "base64 text"}


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
