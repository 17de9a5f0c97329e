"""`python -m service.models MODEL` inspects a model and makes it servable; `make model` calls it."""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("service.models.__main__")


import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from framefleet.text_file import NotText, read_text
from framefleet.wire.errors import FetchError, ModelError
from service.models.place import Request, place

_SIZE = re.compile(r"(\d{1,5})(?:x(\d{1,5}))?")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0 when the model can be served, 1 with one line on stderr when not."""
    options = _parser().parse_args(arguments)
    try:
        path = place(_request(options), _print)
    except (FetchError, ModelError) as error:
        print(f"model: {error}", file=sys.stderr)
        return 1
    _print(f"serve it: make up MODEL={path}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m service.models",
        description="Inspect a model and make it servable: ONNX and TorchScript exports, TensorRT engines.",
    )
    parser.add_argument("model", help="path or http(s) URL of a model file")
    parser.add_argument("--sha256", type=_hash, help="hash the file must have")
    parser.add_argument("--names", help="class names: a,b,c, or a text file with one a line")
    parser.add_argument(
        "--size", type=_size, help="input size in px, SIDE or HEIGHTxWIDTH, where the export left it free"
    )
    parser.add_argument("--name", type=_name, help="what to call the model (default: its file name)")
    parser.add_argument(
        "--layout",
        choices=("yolov5", "yolov8", "tensorrtx"),
        help="what an engine or TorchScript gives, if it can't tell",
    )
    parser.add_argument("--plugin", type=Path, help="shared library with an engine's custom layers")
    parser.add_argument("--var", type=Path, default=Path("var"), help="state folder (default: %(default)s)")
    return parser


def _request(options: argparse.Namespace) -> Request:
    return Request(
        source=options.model,
        var=options.var,
        sha256=options.sha256,
        name=options.name,
        names=None if options.names is None else read_names(options.names),
        size=options.size,
        layout=options.layout,
        plugin=options.plugin,
    )


def read_names(text: str) -> tuple[str, ...]:
    """Class names from a file with one a line, or from a comma-separated list.

    Raises:
        ModelError: there is no name, or one is there twice.
    """
    path = Path(text)
    is_file = "," not in text and path.is_file()
    try:
        lines = read_text(path).splitlines() if is_file else text.split(",")
    except NotText as error:
        raise ModelError(f"names {path}: {error}; {error.fix}") from None
    names = tuple(line.strip() for line in lines if line.strip())
    if not names or len(set(names)) != len(names):
        raise ModelError(f"names {text!r}: expected different names, a,b,c or a text file with one a line")
    return names


def _hash(text: str) -> str:
    if not _SHA256.fullmatch(text):
        raise argparse.ArgumentTypeError("expected 64 hexadecimal digits")
    return text.lower()


def _size(text: str) -> tuple[int, int]:
    match = _SIZE.fullmatch(text)
    if not match or not int(match[1]) or match[2] == "0":
        raise argparse.ArgumentTypeError(f"{text!r}: expected px, 640 for a square or 384x640 for height x width")
    return int(match[1]), int(match[2] or match[1])


def _name(text: str) -> str:
    if not re.fullmatch(r"\w[\w.-]*", text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected letters, digits, dots, dashes and underscores")
    return text


def _print(line: str) -> None:
    print(line, flush=True)
