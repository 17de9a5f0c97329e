import posixpath
import re
import subprocess
from pathlib import Path, PurePosixPath

import pytest

from deploy.release import Release
from deploy.ship.bundle import Entry, entries, join_recipe, slice_names, sum_lines, sums
from framefleet.whole_file import sha256

RELEASE = Release("20260102T030405Z-abc", "2026-01-02T03:04:05Z", "3.11", "x86_64")


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    for name in ("model/m.onnx", "model/m.json", "wheels/a.whl", "more/b.whl", "fleet.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def listed(root: Path, parts: Path, model: Path | None) -> dict[str, Entry]:
    wheels, more = [parts / "wheels/a.whl"], [parts / "more/b.whl"]
    fleet = parts / "fleet.toml"
    found = entries(root, RELEASE, inventory=fleet, picture=b"jpeg", model=model, wheels=wheels, more_wheels=more)
    return {str(entry.path): entry for entry in found}


def test_a_bundle_has_all_that_a_host_needs_and_nothing_else(repo_root: Path, parts: Path) -> None:
    found = listed(repo_root, parts, parts / "model/m.onnx")
    outside = {path for path in found if not path.startswith(("framefleet/", "service/", "deploy/"))}
    wheels = {"wheels/a.whl", "more-wheels/b.whl"}
    alone = {"release.json", "golden.jpg", "fleet.toml", "lock/service.txt", "LICENSE"}
    alone |= {"deploy.sh", "bin/framefleet", "Makefile"}
    alone |= {f"docs/{name}.md" for name in ("deploy", "gpu-host", "models", "operate", "security", "settings")}
    assert outside == alone | wheels | {"model/m.onnx", "model/m.json"}
    assert {"service/server/gunicorn.conf.py", "service/static/", "deploy/nginx/nginx.conf.j2"} <= found.keys() | {
        "service/static/" for path in found if path.startswith("service/static/")
    }
    assert [path for path in found if "__pycache__" in path or path.endswith(".pyc")] == []
    assert {path for path, entry in found.items() if entry.mode == 0o755} == {"deploy.sh", "bin/framefleet"}


def test_what_the_runbook_links_to_travels_with_it(repo_root: Path, parts: Path) -> None:
    found = listed(repo_root, parts, None)
    for path in (path for path in found if path.startswith("docs/")):
        links = re.findall(r"\]\(([^)#:]+)[^):]*\)", (repo_root / path).read_text())
        there = [posixpath.normpath(posixpath.join("docs", link)) for link in links]
        assert [link for link in there if link not in found] == [], path


def test_a_stand_in_brings_no_model(repo_root: Path, parts: Path) -> None:
    assert [path for path in listed(repo_root, parts, None) if path.startswith("model/")] == []


def on_host(repo_root: Path, *arguments: str) -> list[str]:
    command = ["make", "--no-print-directory", "-f", str(repo_root / "tools/host.mk"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()


def test_the_hosts_menu_calls_the_release_that_runs(repo_root: Path) -> None:
    assert on_host(repo_root, "-n", "status") == ["'/opt/framefleet'/current/bin/framefleet status"]
    assert on_host(repo_root, "-n", "drain", "HOST=gpu1") == ["'/opt/framefleet'/current/bin/framefleet drain 'gpu1'"]
    menu = [line.split()[1] for line in on_host(repo_root)]
    assert menu == ["help", "deploy", "status", "logs", "smoke", "rollback", "undeploy", "drain", "undrain"]


def test_sha256sum_accepts_the_sums(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("text")
    (tmp_path / "b").write_bytes(b"bytes")
    listed = (Entry(PurePosixPath("a"), tmp_path / "a"), Entry(PurePosixPath("b"), b"bytes"))
    content = sums(listed).content
    assert isinstance(content, bytes)
    (tmp_path / "SHA256SUMS").write_bytes(content)
    assert subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=tmp_path, check=False).returncode == 0


@pytest.mark.parametrize(
    ("size", "slice_bytes", "names"),
    [
        pytest.param(0, 10, ["f.000"], id="empty"),
        pytest.param(10, 10, ["f.000"], id="fits"),
        pytest.param(11, 10, ["f.000", "f.001"], id="one byte more"),
    ],
)
def test_slices_are_as_many_as_needed(size: int, slice_bytes: int, names: list[str]) -> None:
    assert list(slice_names("f", size, slice_bytes)) == names


def test_a_thousand_slices_keep_their_order() -> None:
    names = slice_names("f", 10_001, 1)
    assert (len(names), list(names)) == (10_001, sorted(names))


def join(folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["sh", str(folder / "join.sh")], capture_output=True, text=True, check=False, timeout=60)


def test_slices_are_joined_and_checked_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    names = slice_names("f.tar", 6, 4)
    (tmp_path / names[0]).write_bytes(b"abcd")
    (tmp_path / names[1]).write_bytes(b"ef")
    (tmp_path / "f.tar.slices.sha256").write_text(sum_lines(names, lambda name: sha256(tmp_path / name)))
    (tmp_path / "f.tar.sha256").write_text(sum_lines(("f.tar",), lambda name: sha256(b"abcdef")))
    (tmp_path / "join.sh").write_text(join_recipe("f.tar", names))
    assert (join(tmp_path).returncode, (tmp_path / "f.tar").read_bytes()) == (0, b"abcdef")
    (tmp_path / "f.tar").unlink()
    (tmp_path / names[1]).write_bytes(b"eF")
    done = join(tmp_path)
    assert done.returncode != 0 and f"{names[1]}: FAILED" in done.stdout
    assert not (tmp_path / "f.tar").exists()
