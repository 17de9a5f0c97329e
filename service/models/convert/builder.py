"""The version of the code that builds models: a model that other code built is built anew."""

from pathlib import Path

from framefleet.whole_file import sha256


def builder_version(*, recipe: str = "") -> str:
    """Changes with the code that builds models, and with what it was told to build.

    Args:
        recipe: everything that the result depends on besides the source file.
    """
    folder = Path(__file__).parent
    code = b"\0".join(path.read_bytes() for path in sorted(folder.glob("*.py")))
    return sha256(code + recipe.encode())[:16]
