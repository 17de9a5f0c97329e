"""The pictures that published packages ship are taken as Pillow takes them, and are the same pixels."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from service.errors import RequestError, UnsupportedBody
from service.pictures.body import decode
from service.pictures.image import ImageLimits
from tests.service.corpus import PACKAGES, Unreachable, as_pillow_sees_it, fetched, files_of, kind_of

LIMITS = ImageLimits(max_pixels=40_000_000, max_side=16_384)
TAKEN = ("JPEG", "PNG", "WebP", "BMP")
MOST_DIFFERENCE = 1.0  # levels of 255, the mean over a picture
LEAST_PICTURES = 600

COMPRESSED = "a compressed BMP is not taken"
MASKS = "Pillow knows a few sets of masks only"
BROKEN = "its data is broken, and Pillow does not say so"
EXTRA = "Pillow refuses it for what plays no part in its pixels"
# Where the two differ in whether they take a picture, and why.
EXCEPTIONS = {
    **dict.fromkeys(("bmp/b/badrle", "bmp/b/rletopdown", "bmp/g/pal4rle", "bmp/g/pal8rle"), COMPRESSED),
    **dict.fromkeys(("bmp/q/pal4rletrns", "bmp/q/pal8rletrns", "hopper_rle8", "hopper_rle8_grayscale"), COMPRESSED),
    "hopper_rle8_row_overflow": COMPRESSED,
    **dict.fromkeys(("bmp/q/rgb16-231", "bmp/q/rgba16-4444"), MASKS),
    **dict.fromkeys(("bmp/b/badpalettesize", "bmp/q/pal8oversizepal"), EXTRA),
    **dict.fromkeys(("apng/chunk_no_fctl", "png_decompression_dos", "unknown_compression_method"), EXTRA),
    "hopper_bad_exif": BROKEN,
    "iss634": "a lossless WebP is not taken",
}


@pytest.fixture(scope="module")
def corpus(repo_root: Path) -> list[tuple[str, str, bytes]]:
    """Name, kind and content of every picture."""
    try:
        archives = [fetched(package, repo_root / "var/cache/corpus") for package in PACKAGES]
    except Unreachable as error:
        pytest.skip(f"no corpus: {error}")
    files = (file for archive in archives for file in files_of(archive))
    return [(name, kind, body) for name, body in files if (kind := kind_of(body))]


@pytest.fixture(autouse=True)
def quiet_pillow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", LIMITS.max_pixels // 2)  # it refuses over twice as many
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def short(name: str) -> str:
    return name.removeprefix("Tests/images/").rpartition(".")[0]


def test_the_same_are_taken_and_are_the_same_pixels(corpus: list[tuple[str, str, bytes]]) -> None:
    differing, compared = {}, 0
    for name, kind, body in corpus:
        if kind not in TAKEN:
            continue
        compared += 1
        theirs = as_pillow_sees_it(body)
        try:
            ours = decode(body, LIMITS).pixels
        except RequestError as error:
            if theirs is not None:
                differing[short(name)] = str(error)
            continue
        if theirs is None:
            differing[short(name)] = "taken by us alone"
        elif ours.shape != theirs.shape or np.abs(ours.astype(int) - theirs).mean() > MOST_DIFFERENCE:
            differing[short(name)] = "other pixels"
    assert compared >= LEAST_PICTURES
    assert sorted(differing) == sorted(EXCEPTIONS), {
        name: differing.get(name) for name in differing.keys() ^ EXCEPTIONS
    }


def test_the_others_are_refused_by_their_names(corpus: list[tuple[str, str, bytes]]) -> None:
    others = [(name, kind, body) for name, kind, body in corpus if kind not in TAKEN]
    assert len(others) > 150
    for name, kind, body in others:
        with pytest.raises(UnsupportedBody, match=f"an? {kind}.*not taken"):
            decode(body, LIMITS)
            pytest.fail(name)
