"""Reads a TOML table key by key and collects every problem, each with its path such as `hosts[1].gpus`."""

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from deploy.errors import Problem

T = TypeVar("T")
MISSING = object()
NO_SUCH_KEY = "no such key"
MEANT = re.compile(r"did you mean '(.+)'\?")


class Doubts:
    """Which keys of a file cannot be relied on: those with problems, and those that a misspelt key may stand for.

    Where one is wrong, its default was read instead; what contradicts a default says nothing.
    """

    def __init__(self, problems: Iterable[Problem] = ()) -> None:
        self._paths = {path for problem in problems if (path := _doubtful(problem))}

    def about(self, *paths: str) -> bool:
        """True if one of these keys, or a key below or above it, is doubtful."""
        return any(_within(path, doubtful) or _within(doubtful, path) for path in paths for doubtful in self._paths)


def _within(path: str, other: str) -> bool:
    return path == other or path.startswith((f"{other}.", f"{other}["))


def _doubtful(problem: Problem) -> str:
    if problem.what != NO_SUCH_KEY:
        return problem.where
    table, _, _ = problem.where.rpartition(".")
    meant = MEANT.fullmatch(problem.fix)
    return ".".join(filter(None, (table, meant[1] if meant else "")))


class Table:
    """One table of the file. Asked for every key it may have, it then knows which keys nobody asked for.

    A value that will not do is noted in `problems`, and the default is returned so that reading goes on.

    Args:
        values: what the file has.
        where: its path, empty for the whole file.
        problems: shared by all tables of a file.
    """

    def __init__(self, values: Mapping[str, Any], where: str, problems: list[Problem]) -> None:
        self._values, self._where, self.problems = values, where, problems
        self._asked: list[str] = []

    def path(self, key: str) -> str:
        """Where a key is in the file."""
        return f"{self._where}.{key}" if self._where else key

    def problem(self, key: str, what: str, fix: str) -> None:
        """Notes that a key's value will not do."""
        self.problems.append(Problem(self.path(key), what, fix))

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def value(self, key: str) -> Any:
        """The value as it is in the file; `MISSING` if it is not there."""
        self._asked.append(key)
        return self._values.get(key, MISSING)

    def text(self, key: str, default: str | None, pattern: re.Pattern[str], fix: str) -> str:
        """A string that matches as a whole; with no default it has to be there."""
        text = self._typed(key, default, str, "text in quotes", "")
        # A default is ours, and may be what no user may write.
        if text != default and key in self and isinstance(self._values[key], str) and not pattern.fullmatch(text):
            self.problem(key, f"{text!r} will not do", fix)
        return text

    def number(self, key: str, default: int, low: int, high: int) -> int:
        """A whole number within limits."""
        number = self._typed(key, default, int, "a whole number", default)
        if not low <= number <= high:
            self.problem(key, f"{number} is outside {low}-{high}", "choose a number in that range")
            return default
        return number

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        return self._typed(key, default, bool, "true or false", default)

    def choice(self, key: str, default: str, choices: tuple[str, ...]) -> str:
        """One of a few words."""
        word = self._typed(key, default, str, "text in quotes", default)
        if word not in choices:
            self.problem(key, f"{word!r} is not one of {', '.join(choices)}", "choose one of them")
            return default
        return word

    def texts(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """A list of strings."""
        items = self._typed(key, [*default], list, 'a list such as ["a", "b"]', [])
        if not all(isinstance(item, str) for item in items):
            self.problem(key, f"{items!r} has items that are no text", 'write each in quotes: ["a", "b"]')
            return ()
        return tuple(items)

    def table(self, key: str) -> "Table":
        """A table; an empty one if it is not there."""
        return Table(self._typed(key, {}, dict, f"a table: [{self.path(key)}]", {}), self.path(key), self.problems)

    def tables(self, key: str) -> tuple["Table", ...]:
        """A list of tables; empty if it is not there."""
        found = self._typed(key, [], list, f"tables, each under [[{self.path(key)}]]", [])
        if not all(isinstance(values, dict) for values in found):
            self.problem(key, "holds something else than tables", f"start each with [[{self.path(key)}]]")
            return ()
        return tuple(Table(values, f"{self.path(key)}[{n}]", self.problems) for n, values in enumerate(found))

    def present(self) -> tuple[str, ...]:
        """Every key the file has here, known or not."""
        return tuple(self._values)

    def close(self) -> None:
        """Notes every key that was never asked for."""
        for key in self._values:
            if key not in self._asked:
                near = difflib.get_close_matches(key, self._asked, n=1)
                known = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(self._asked))}"
                self.problem(key, NO_SUCH_KEY, known)

    def _typed(self, key: str, default: T | None, kind: type[T], wanted: str, instead: T) -> T:
        value = self.value(key)
        if value is MISSING:
            if default is None:
                self.problem(key, "missing", f"write {wanted}")
                return instead
            return default
        # In Python True is an int; in the file it is not.
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.problem(key, f"{value!r} is not {wanted}", f"write {wanted}")
            return instead if default is None else default
        return value


def more_than_once(items: Iterable[str]) -> list[str]:
    """The items that come more than once, each once."""
    return [item for item, count in Counter(items).items() if count > 1]
