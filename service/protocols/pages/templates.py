"""Where the pages' files are, and how their templates are read."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

SERVICE = Path(__file__).resolve().parents[2]
STATIC = SERVICE / "static"


def templates() -> Environment:
    """The pages' templates: what they show is text, and a name they misspell is an error."""
    return Environment(
        loader=FileSystemLoader(SERVICE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
