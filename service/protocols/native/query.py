"""The parameters of a detection, declared once: validation and the OpenAPI document come from this table."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from werkzeug.datastructures import MultiDict

from service.errors import InvalidValue
from service.pipeline.boxes import Selection

MAX_CANDIDATES = 300
FLAGS = {"1": True, "true": True, "0": False, "false": False}
LONGEST_TIMEOUT_MS = 3_600_000
MAX_ID_DIGITS = 9  # Python refuses to read numbers of thousands of digits
# What people and JSON write; Python's float would also take "1_0", "nan" and digits of other scripts.
NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: its `kind` is number, integer, boolean or classes; `low` and `high` bound numbers."""

    name: str
    kind: str
    why: str
    low: float = 0
    high: float = 1


PARAMETERS = (
    Parameter("conf", "number", "score that a box must exceed"),
    Parameter("iou", "number", "IoU above which NMS drops the lower score of two boxes"),
    Parameter("max_det", "integer", "boxes at most, best first", 1, MAX_CANDIDATES),
    Parameter("agnostic", "boolean", "whether boxes of different classes silence one another in NMS"),
    Parameter("classes", "classes", "class names or ids to keep, comma-separated; all where absent"),
)
TIMEOUT = Parameter(
    "X-Timeout-Ms",
    "number",
    "milliseconds until nobody wants the answer any more; it can only shorten the instance's own deadline",
    1,
    LONGEST_TIMEOUT_MS,
)


def read_selection(query: Mapping[str, str], defaults: Selection, classes: tuple[str, ...]) -> Selection:
    """Reads the query parameters.

    Args:
        query: name to text.
        defaults: what holds where a parameter is absent.
        classes: the model's class names by id.

    Raises:
        InvalidValue: an unknown or repeated parameter, or a value of the wrong type or out of range.
    """
    if not query:
        return defaults
    known = {parameter.name: parameter for parameter in PARAMETERS}
    if unknown := [name for name in query if name not in known]:
        raise InvalidValue(f"query: {unknown[0][:40]}: no such parameter; there are {', '.join(known)}")
    if isinstance(query, MultiDict) and (repeated := [name for name, given in query.lists() if len(given) > 1]):
        raise InvalidValue(f"query: {repeated[0]}: given more than once; give it once")
    readers: dict[str, Callable[[Parameter, str], object]] = {
        "number": _number,
        "integer": _integer,
        "boolean": _flag,
        "classes": lambda _, text: frozenset(_class_id(part.strip(), classes) for part in text.split(",")),
    }
    values = {name: readers[known[name].kind](known[name], text) for name, text in query.items()}
    return replace(defaults, **values)  # type: ignore[arg-type]  # the table's names are Selection's


def read_timeout_ms(header: str | None, longest_ms: float) -> float:
    """Reads `X-Timeout-Ms`: milliseconds, at most the instance's own deadline.

    Raises:
        InvalidValue: it is no number above 0.
    """
    if header is None:
        return longest_ms
    return min(longest_ms, _number(TIMEOUT, header))


def _number(parameter: Parameter, text: str) -> float:
    if not NUMBER.fullmatch(text) or not parameter.low <= float(text) <= parameter.high:
        raise InvalidValue(f"{parameter.name}: {text[:40]!r} is not a number from {parameter.low} to {parameter.high}")
    return float(text)


def _integer(parameter: Parameter, text: str) -> int:
    value = _number(parameter, text)
    if not value.is_integer():
        raise InvalidValue(
            f"{parameter.name}: {text[:40]!r} is not a whole number from {parameter.low} to {parameter.high}"
        )
    return int(value)


def _flag(parameter: Parameter, text: str) -> bool:
    if text.lower() not in FLAGS:
        raise InvalidValue(f"{parameter.name}: {text[:40]!r} is not one of {', '.join(FLAGS)}")
    return FLAGS[text.lower()]


def _class_id(text: str, classes: tuple[str, ...]) -> int:
    if text in classes:
        return classes.index(text)
    if text.isascii() and text.isdecimal() and len(text) <= MAX_ID_DIGITS and int(text) < len(classes):
        return int(text)
    raise InvalidValue(f"classes: {text[:40]!r} is not a class of this model; use its names or 0 to {len(classes) - 1}")
