"""What a scenario must hold to pass: `late_or_dropped <= 0.01` -> [Condition] -> verdict on its figures. Pure."""

import math
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass

from loadtest.errors import OptionError

OPERATORS = {"<=": operator.le, ">=": operator.ge, "==": operator.eq, "<": operator.lt, ">": operator.gt}
_FORM = re.compile(r"(\w+)\s*(<=|>=|==|<|>)\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)")


@dataclass(frozen=True, slots=True)
class Condition:
    """One figure and its limit.

    Attributes:
        figure: name of a scenario's figure.
        relation: how it must relate to the limit, one of `OPERATORS`.
        limit: in the figure's own unit.
    """

    figure: str
    relation: str
    limit: float

    def __str__(self) -> str:
        return f"{self.figure} {self.relation} {self.limit:g}"

    def holds(self, figures: Mapping[str, float]) -> bool:
        """Whether the figures meet it; an unknown figure (NaN) never does."""
        value = figures[self.figure]
        return not math.isnan(value) and bool(OPERATORS[self.relation](value, self.limit))


def parse(text: str, where: str) -> Condition:
    """Reads a condition.

    Args:
        text: `FIGURE RELATION NUMBER`.
        where: names the place in a complaint.

    Raises:
        OptionError: it is something else.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise OptionError(
            f"{where}: {text!r} is no condition; write FIGURE, one of {' '.join(OPERATORS)}, and a number"
        )
    return Condition(match[1], match[2], float(match[3]))
