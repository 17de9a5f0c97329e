"""Model files as `make model` leaves them: each with the manifest that makes it loadable."""

from pathlib import Path

from framefleet.whole_file import sha256, write_whole
from framefleet.wire.manifest import Manifest, write_manifest


def save_model(path: Path, data: bytes, size: tuple[int, int] = (64, 96)) -> Path:
    """Writes a serving graph, or what is passed off as one, and its manifest."""
    manifest = Manifest(
        name=path.stem,
        sha256=sha256(data),
        source="x",
        source_sha256="5" * 64,
        layout="serving",
        input=size,
        names=("a",),
    )
    write_whole(path, data)
    write_manifest(path, manifest)
    return path
