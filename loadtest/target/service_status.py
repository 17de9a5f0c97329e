"""Reads a service's `/status` document, whose shape is not ours to rely on: -> text, number, or neither."""

from typing import Any

UNKNOWN = "unknown"


def text(status: dict[str, Any], outer: str, inner: str) -> str:
    """What stands there; `unknown` if nothing does."""
    part = status.get(outer)
    return str((part.get(inner) if isinstance(part, dict) else "") or UNKNOWN)


def number(status: dict[str, Any], outer: str, inner: str) -> int | None:
    """A whole number above 0; none if nothing of that kind stands there."""
    part = status.get(outer)
    value = part.get(inner) if isinstance(part, dict) else None
    return value if isinstance(value, int) and value > 0 else None


def engine(status: dict[str, Any]) -> str:
    """The engine in words."""
    parts = [text(status, "engine", key) for key in ("kind", "device", "note")]
    return ", ".join(part for part in parts if part != UNKNOWN) or UNKNOWN


def simulated(status: dict[str, Any]) -> str:
    """A warning if the service's accelerator is a stand-in, else an empty text."""
    if text(status, "engine", "kind") != "simulated":
        return ""
    return f"These figures test the kit, not a model: engine {engine(status)}"
