"""The version of the code that builds models: a model that other code built is built anew."""

from pathlib import Path

from framefleet.whole_file import sha256

_MODULES = (
    "centerface.py",
    "dynamic_batch.py",
    "layout.py",
    "normalise.py",
    "selection.py",
    "serving_graph.py",
    "source.py",
    "writer.py",
)


def builder_version(*, recipe: str = "") -> str:
    """Changes with the code that builds models, and with what it was told to build.

    Args:
        recipe: everything that the result depends on besides the source file.
    """
    folder = Path(__file__).parent
    code = b"\0".join((folder / name).read_bytes() for name in _MODULES)
    return sha256(code + recipe.encode())[:16]
