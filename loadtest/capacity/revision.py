"""Which revision of the source tree this is, read from git's own files, so that git itself is not needed."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LENGTH = 12


def revision(root: Path = ROOT) -> str:
    """The first digits of the commit that is checked out; empty outside a checkout."""
    try:
        folder = _folder(root / ".git")
        head = (folder / "HEAD").read_text(encoding="ascii").strip()
        found = _resolve(folder, head.removeprefix("ref: ")) if head.startswith("ref: ") else head
    except (OSError, UnicodeDecodeError):
        return ""
    return found[:LENGTH]


def _folder(path: Path) -> Path:
    """A worktree has a file that names its folder."""
    if path.is_file():
        return path.parent / path.read_text(encoding="utf-8").strip().removeprefix("gitdir: ")
    return path


def _resolve(folder: Path, name: str) -> str:
    shared = folder / "commondir"
    folders = [folder, folder / shared.read_text(encoding="utf-8").strip()] if shared.exists() else [folder]
    for place in folders:
        if (place / name).exists():
            return (place / name).read_text(encoding="ascii").strip()
    for place in folders:
        packed = place / "packed-refs"
        lines = packed.read_text(encoding="utf-8").splitlines() if packed.exists() else []
        for line in lines:
            commit, _, ref = line.partition(" ")
            if ref == name:
                return commit
    return ""
