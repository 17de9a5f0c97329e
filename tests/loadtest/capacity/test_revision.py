"""The revision is read from git's own files."""

from pathlib import Path

import pytest

from loadtest.measure.machine import revision

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def git(tmp_path: Path) -> Path:
    folder = tmp_path / ".git"
    (folder / "refs/heads").mkdir(parents=True)
    (folder / "HEAD").write_text("ref: refs/heads/main\n")
    (folder / "refs/heads/main").write_text(COMMIT + "\n")
    return folder


def test_a_branch(git: Path) -> None:
    assert revision(git.parent) == COMMIT[:12]


def test_a_commit_checked_out_on_its_own(git: Path) -> None:
    (git / "HEAD").write_text(COMMIT + "\n")
    assert revision(git.parent) == COMMIT[:12]


def test_a_packed_branch(git: Path) -> None:
    (git / "refs/heads/main").unlink()
    (git / "packed-refs").write_text(f"# pack-refs\n{COMMIT} refs/heads/main\n")
    assert revision(git.parent) == COMMIT[:12]


def test_a_worktree(git: Path, tmp_path: Path) -> None:
    own = git / "worktrees/side"
    own.mkdir(parents=True)
    (own / "HEAD").write_text("ref: refs/heads/main\n")
    (own / "commondir").write_text("../..\n")
    side = tmp_path / "side"
    side.mkdir()
    (side / ".git").write_text(f"gitdir: {own}\n")
    assert revision(side) == COMMIT[:12]


def test_outside_a_checkout_it_is_unknown(tmp_path: Path) -> None:
    assert revision(tmp_path) == ""
