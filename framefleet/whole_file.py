"""Reads and writes whole files by content: hashes decide what is kept, and nobody sees half a file."""

import hashlib
import secrets
from pathlib import Path


def sha256_of(path: Path) -> str | None:
    """Hexadecimal SHA-256 of a file; None when there is no such file."""
    try:
        return sha256(path.read_bytes())
    except FileNotFoundError:
        return None


def sha256(data: bytes) -> str:
    """Hexadecimal SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


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
