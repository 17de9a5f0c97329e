"""The parameters of a detection as OpenAPI says them, from the table that validates them."""

from typing import Any

from service.openapi.headers import request_id_parameter
from service.protocols.native.query import FLAGS, PARAMETERS, TIMEOUT, Parameter
from service.protocols.native.routes import default_selection
from service.settings import Settings

Json = dict[str, Any]


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
