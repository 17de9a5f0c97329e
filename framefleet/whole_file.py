"""Reads and writes whole files by content: hashes decide what is kept, and nobody sees half a file."""

import hashlib
import secrets
from pathlib import Path

PIECE_BYTES = 2**20


def sha256_of(path: Path) -> str | None:
    """Hexadecimal SHA-256 of a file; None when there is no such file."""
    try:
        return sha256(path)
    except FileNotFoundError:
        return None


def sha256(content: Path | bytes) -> str:
    """Hexadecimal SHA-256 of bytes, or of a file, of which little is in memory at a time."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    digest = hashlib.sha256()
    with content.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file under a temporary name beside its place, then renames it; missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name that nobody can foresee, and a new file: the folder may be another user's than root, who runs this.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
