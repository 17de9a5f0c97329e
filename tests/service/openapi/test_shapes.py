"""Schemas are those of the records that are answered, in the words of OpenAPI 3.0."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from service.openapi.shapes import Yes, schemas_of

Row = Annotated[list[dict[str, int]], Meta(description="Rows.")]


class Inner(Struct, frozen=True):
    """Something in another.

    Of which more is said here.
    """

    sides: tuple[int, int]
    title: Annotated[float | None, Meta(description="null without one.")]


class Outer(Struct, frozen=True, kw_only=True):
    """What is answered."""

    done: Yes = True
    kind: Literal["a", "b"] = "a"
    inner: Inner
    rest: Annotated[list[Inner], Meta(description="More.")]
    maybe: str | UnsetType = UNSET


def test_what_json_schema_says_is_said_as_openapi_3_0_says_it() -> None:
    assert schemas_of(Inner)["Inner"] == {
        "type": "object",
        "description": "Something in another.",
        "required": ["sides", "title"],
        "properties": {
            "sides": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
            "title": {"type": "number", "nullable": True, "description": "null without one."},
        },
    }


def test_a_member_with_a_default_is_always_there_and_one_that_may_be_unset_is_not() -> None:
    schema = schemas_of(Outer)["Outer"]
    assert schema["required"] == ["done", "kind", "inner", "rest"]
    assert schema["properties"] == {
        "done": {"type": "boolean", "enum": [True]},
        "kind": {"type": "string", "enum": ["a", "b"]},
        "inner": {"$ref": "#/components/schemas/Inner"},
        "rest": {"type": "array", "items": {"$ref": "#/components/schemas/Inner"}, "description": "More."},
        "maybe": {"type": "string"},
    }
    answer = Outer(inner=Inner((1, 2), None), rest=[])
    assert msgspec.json.decode(msgspec.json.encode(answer)).keys() == set(schema["required"])


def test_limits_are_laid_over_schemas_members_and_elements() -> None:
    limits = {"Row": {"maxItems": 3}, "Row[]": {"minProperties": 1}, "Inner.sides[]": {"maximum": 9}}
    schemas = schemas_of(Inner, Row=Row, limits=limits)
    assert schemas["Row"] == {
        "type": "array",
        "description": "Rows.",
        "maxItems": 3,
        "items": {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1},
    }
    assert schemas["Inner"]["properties"]["sides"]["items"] == {"type": "integer", "maximum": 9}
    assert "maximum" not in schemas_of(Inner)["Inner"]["properties"]["sides"]["items"]
