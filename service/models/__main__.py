"""`python -m service.models MODEL` inspects a model and makes it servable; `make model` calls it.

`Request`, `place`: makes a model servable: `make model` as one recipe, from a path or URL to a model file with its
manifest.

source --download--> bytes --kind--> [Recognised] --inspection--> [Inspection] --> var/models/NAME.* and [Manifest]
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("service.models.__main__")


import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from framefleet.text_file import NotText, read_text
from framefleet.whole_file import sha256, sha256_of, write_whole
from framefleet.wire.errors import FetchError, ModelError
from framefleet.wire.manifest import Layout, Manifest, manifest_path, read_manifest, write_manifest
from service.models.convert.builder import builder_version
from service.models.download import download, is_url, public_url
from service.models.inspection import Inspection, Wishes, inspect_model
from service.models.kind import Recognised, recognise

_SUFFIXES = (".onnx", ".engine", ".torchscript")
_ELF = b"\x7fELF"
Say = Callable[[str], None]
Download = Callable[..., Path]
_SIZE = re.compile(r"(\d{1,5})(?:x(\d{1,5}))?")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What `make model` was asked for.

    Attributes:
        source: path or http(s) URL of a model.
        var: state folder; the model is written to its `models`.
        sha256: hash the source must have, hexadecimal.
        name: what the model will be called; None takes the source's file name.
        names: class names in class order.
        size: height and width of letterboxed frames, px.
        layout: see `Wishes`.
        plugin: shared library with an engine's custom layers.
    """

    source: str
    var: Path
    sha256: str | None = None
    name: str | None = None
    names: tuple[str, ...] | None = None
    size: tuple[int, int] | None = None
    layout: Layout | None = None
    plugin: Path | None = None


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


def place(request: Request, say: Say, fetch: Download = download) -> Path:
    """Puts a model in place; what is in place already is left alone.

    Args:
        request: what is wanted.
        say: takes one line at a time.
        fetch: brings a URL into a cache folder, as `download` does.

    Returns:
        The file to serve.

    Raises:
        FetchError: the source cannot be had.
        ModelError: it cannot be served; the message says why and what to do.
    """
    name = request.name or _name_of(request.source)
    recipe = _recipe(request)
    ready = _in_place(request, name, recipe)
    if ready is not None:
        say(f"{ready}: in place")
        return ready
    path = _original(request, fetch)
    data = path.read_bytes()
    digest = sha256(data)
    if request.sha256 not in (None, digest):
        raise ModelError(f"{path}: its sha256 is {digest}, not {request.sha256}; check both")
    try:
        found = inspect_model(_recognised(request, path, data), data, _wishes(request, name), digest)
    except ModelError as error:
        raise ModelError(f"{_source(request)}: {error}") from error
    for line in found.lines:
        say(f"  {line}")
    return _write(request, name, recipe, found, digest)


def _name_of(source: str) -> str:
    path = urlsplit(source).path if is_url(source) else source
    stem = PurePosixPath(path).name
    for suffix in _SUFFIXES:
        stem = stem.removesuffix(suffix)
    return re.sub(r"[^\w.-]", "_", stem).strip(".") or "model"


def _source(request: Request) -> str:
    return public_url(request.source) if is_url(request.source) else request.source


def _recipe(request: Request) -> str:
    """Everything that decides what is written, but for the source's content."""
    plugin = sha256_of(request.plugin) if request.plugin else None
    return builder_version(recipe=json.dumps([request.names, request.size, request.layout, plugin]))


def _in_place(request: Request, name: str, recipe: str) -> Path | None:
    """The file that an earlier run wrote for the same request, if it is whole. Asks no server."""
    path = next((path for suffix in _SUFFIXES if (path := _target(request, name, suffix)).exists()), None)
    if path is None:
        return None
    try:
        manifest = read_manifest(path)
    except ModelError:
        return None
    source_sha256 = manifest.source_sha256 if is_url(request.source) else sha256_of(Path(request.source))
    wanted = (recipe, _source(request), source_sha256, request.sha256 or source_sha256)
    found = (manifest.builder, manifest.source, manifest.source_sha256, manifest.source_sha256)
    return path if wanted == found and manifest.sha256 == sha256_of(path) else None


def _target(request: Request, name: str, suffix: str) -> Path:
    return request.var / "models" / (name + suffix)


def _original(request: Request, fetch: Download) -> Path:
    if is_url(request.source):
        return fetch(request.source, request.var / "cache", wanted=request.sha256)
    path = Path(request.source)
    if not path.is_file():
        raise ModelError(f"{path}: no such file; give the path or the http(s) URL of a model")
    return path


def _recognised(request: Request, path: Path, data: bytes) -> Recognised:
    try:
        return recognise(data)
    except ModelError:
        if is_url(request.source):
            path.unlink()  # else the next run would find the same again
        raise


def _wishes(request: Request, name: str) -> Wishes:
    if request.plugin is not None and not _is_library(request.plugin):
        raise ModelError(f"plugin {request.plugin}: is no shared library; build it with tensorrtx's CMake")
    return Wishes(
        name=name,
        names=request.names,
        size=request.size,
        layout=request.layout,
        has_plugin=request.plugin is not None,
    )


def _is_library(path: Path) -> bool:
    return path.is_file() and path.read_bytes()[: len(_ELF)] == _ELF


def _write(request: Request, name: str, recipe: str, found: Inspection, source_sha256: str) -> Path:
    """Writes the model first and its manifest last: a model without one is never taken for the right one."""
    path, digest = _target(request, name, found.suffix), sha256(found.data)
    if _is_same_file(path, request.source) and digest != source_sha256:
        raise ModelError(f"{path}: is the source itself, and would be overwritten; give another --name")
    manifest_path(path).unlink(missing_ok=True)
    if sha256_of(path) != digest:
        write_whole(path, found.data)
    plugin = _write_plugin(request, name)
    manifest = Manifest(
        name=name,
        sha256=digest,
        source=_source(request),
        source_sha256=source_sha256,
        layout=found.layout,
        input=found.input_size,
        names=found.names,
        batch=found.batch,
        builder=recipe,
        plugin=plugin,
        plugin_sha256=(sha256_of(Path(plugin)) or "") if plugin else "",
    )
    write_manifest(path, manifest)
    return path


def _is_same_file(path: Path, source: str) -> bool:
    return not is_url(source) and path.exists() and path.samefile(source)


def _write_plugin(request: Request, name: str) -> str:
    if request.plugin is None:
        return ""
    path = _target(request, name, ".so")
    if not _is_same_file(path, str(request.plugin)):
        write_whole(path, request.plugin.read_bytes())
    return str(path)
