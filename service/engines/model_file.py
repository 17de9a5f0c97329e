"""Makes sure that a model file is the one its manifest describes, before anything opens it."""

from pathlib import Path

from framefleet.failure import explain_os_error
from framefleet.whole_file import sha256_of
from framefleet.wire.errors import ModelError
from framefleet.wire.manifest import Manifest, read_manifest
from service.errors import StartError


def model_sha256(path: Path) -> str:
    """A model file's hash.

    Raises:
        StartError: there is no such file, or it cannot be read.
    """
    try:
        found = sha256_of(path)
    except OSError as error:
        raise StartError(f"FRAMEFLEET_MODEL: {explain_os_error(error)}") from error
    if found is None:
        raise StartError(f"FRAMEFLEET_MODEL: {path} does not exist; `make setup` and `make model` put models there")
    return found


def matching_manifest(path: Path, digest: str) -> Manifest:
    """The manifest of a model file.

    Args:
        path: of the model.
        digest: SHA-256 of what is there, hexadecimal.

    Raises:
        StartError: there is no manifest, or it is of another file.
    """
    try:
        manifest = read_manifest(path)
    except (ModelError, OSError) as error:
        raise StartError(f"FRAMEFLEET_MODEL: {error}") from error
    if digest != manifest.sha256:
        raise StartError(
            f"FRAMEFLEET_MODEL: {path} has sha256 {digest}, its manifest says {manifest.sha256}: it is truncated, "
            "damaged or was replaced; run `make setup`, `make model` or `make engine` again"
        )
    return manifest


def checked_sha256(path: Path) -> str:
    """The hash of a model that is the one its manifest describes.

    Raises:
        StartError: there is no such file, no manifest, or one of another file.
    """
    found = model_sha256(path)
    matching_manifest(path, found)
    return found
