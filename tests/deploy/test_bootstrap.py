"""A small bundle, made by hand around one wheel, becomes a release with a real venv and a real pip."""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.bootstrap import build
from deploy.errors import CheckError, ControlError, PreflightError
from deploy.run_lock import Holder, deploy_lock

ID = "20260102T030405Z-abc"
IMPORTS = "import small, service, deploy"
STDLIB_ONLY = "import sys; sys.path.insert(0, sys.argv[1]); import deploy.bootstrap"
WHEEL = {
    "small.py": "NAME = 'small'\n",
    "small-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: small\nVersion: 1.0\n",
    "small-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "small-1.0.dist-info/RECORD": "small.py,,\n",
}


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def write_sums(bundle: Path) -> None:
    files = sorted(path for path in bundle.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    (bundle / "SHA256SUMS").write_text("".join(f"{digest(file)}  {file.relative_to(bundle)}\n" for file in files))


def make_bundle(bundle: Path, release_id: str = ID) -> Path:
    for package in ("framefleet", "service", "deploy"):
        (bundle / package).mkdir(parents=True)
        (bundle / package / "__init__.py").write_text(f'"""{package}"""\n')
    (bundle / "wheels").mkdir()
    wheel = bundle / "wheels" / "small-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in WHEEL.items():
            archive.writestr(name, text)
    (bundle / "lock").mkdir()
    (bundle / "lock" / "service.txt").write_text(f"small==1.0 \\\n    --hash=sha256:{digest(wheel)}\n")
    (bundle / "model").mkdir()
    (bundle / "model" / "m.onnx").write_text("weights")
    (bundle / "bin").mkdir()
    (bundle / "bin/framefleet").write_text("#!/bin/sh\n")
    (bundle / "bin/framefleet").chmod(0o755)
    record = {"id": release_id, "created": "now", "machine": platform.machine()}
    record["python"] = f"{sys.version_info[0]}.{sys.version_info[1]}"
    (bundle / "release.json").write_text(json.dumps(record))
    write_sums(bundle)
    return bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "bundle")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A bundle, and the folder of its release; made once, as a venv takes seconds."""
    folder = tmp_path_factory.mktemp("built")
    bundle = make_bundle(folder / "bundle")
    # What a power cut in an earlier attempt left behind.
    (folder / "opt/releases" / ID / "service").mkdir(parents=True)
    (folder / "opt/releases" / ID / "service" / "old.py").write_text("half a file")
    return bundle, build(bundle, folder / "opt", lambda line: None, IMPORTS)


def test_the_bootstrap_needs_only_the_standard_library(repo_root: Path) -> None:
    command = [sys.executable, "-I", "-S", "-c", STDLIB_ONLY, str(repo_root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_release_is_whole_and_imports_from_anywhere(built: tuple[Path, Path], tmp_path: Path) -> None:
    _, release = built
    code = "import small, service; print(small.NAME, service.__file__)"
    done = subprocess.run(
        [release / "venv/bin/python", "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["small", str(release / "service/__init__.py")], done.stderr
    assert {path.name for path in release.iterdir()} == {
        *("framefleet", "service", "deploy", "bin", "lock", "venv", "release.json", "SHA256SUMS", "built")
    }
    assert not (release / "service/old.py").exists()
    assert os.access(release / "bin/framefleet", os.X_OK)


def test_a_release_that_is_in_place_is_left_alone(built: tuple[Path, Path]) -> None:
    bundle, release = built
    said: list[str] = []
    before = {path: path.stat().st_mtime_ns for path in release.rglob("*")}
    assert build(bundle, release.parents[1], said.append, IMPORTS) == release
    assert said == [f"== build: release {ID} is in place"]
    assert {path: path.stat().st_mtime_ns for path in release.rglob("*")} == before


def test_another_bundle_with_the_same_id_is_refused(built: tuple[Path, Path], tmp_path: Path) -> None:
    other = shutil.copytree(built[0], tmp_path / "other")
    (other / "service/__init__.py").write_text("other = True\n")
    write_sums(other)
    with pytest.raises(CheckError, match="was built from another bundle with the same id"):
        build(other, built[1].parents[1], lambda line: None, IMPORTS)


def test_every_file_that_is_not_as_it_was_packed_is_named(bundle: Path, tmp_path: Path) -> None:
    (bundle / "service/__init__.py").write_text("damaged")
    (bundle / "model/m.onnx").unlink()
    (bundle / "service/more.py").write_text("slipped in")
    with pytest.raises(CheckError) as caught:
        build(bundle, tmp_path / "opt", lambda line: None, IMPORTS)
    assert [f"{problem.where}: {problem.what}" for problem in caught.value.problems] == [
        "model/m.onnx: missing in the bundle",
        "service/more.py: not listed in SHA256SUMS",
        "service/__init__.py: damaged: its hash differs",
    ]
    assert not (tmp_path / "opt/releases").exists()


def test_a_bundle_for_another_python_is_refused(bundle: Path, tmp_path: Path) -> None:
    text = (bundle / "release.json").read_text()
    (bundle / "release.json").write_text(text.replace(f"{sys.version_info[0]}.{sys.version_info[1]}", "2.7"))
    with pytest.raises(PreflightError, match=r"the bundle is for Python 2\.7 on "):
        build(bundle, tmp_path / "opt", lambda line: None, IMPORTS)


def break_lock(bundle: Path) -> None:
    (bundle / "lock/service.txt").write_text(f"small==1.0 \\\n    --hash=sha256:{'0' * 64}\n")


def break_code(bundle: Path) -> None:
    (bundle / "service/__init__.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')\n")


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        pytest.param(break_lock, "make the bundle again", id="a wheel that the lock does not know"),
        pytest.param(break_code, "libGL.so.1: cannot open .*apt-get install libgl1", id="a library of the system"),
    ],
)
def test_what_cannot_be_installed_leaves_no_release(
    bundle: Path, tmp_path: Path, break_it: Callable[[Path], None], message: str
) -> None:
    break_it(bundle)
    write_sums(bundle)
    with pytest.raises(PreflightError, match=message):
        build(bundle, tmp_path / "opt", lambda line: None, IMPORTS)
    assert not (tmp_path / "opt/releases" / ID / "built").exists()


def test_two_do_not_build_at_once(bundle: Path, tmp_path: Path) -> None:
    holder = Holder("anna", "deploying release r1", 4711, 0.0)
    busy = pytest.raises(ControlError, match="busy with deploying release r1 by anna")
    with deploy_lock(tmp_path / "opt/deploy.lock", holder), busy:
        build(bundle, tmp_path / "opt", lambda line: None, IMPORTS)


def run_script(repo_root: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["sh", str(repo_root / "tools/deploy.sh"), *arguments],
        env={**os.environ, "PYTHON": sys.executable, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_script_hands_a_bundle_to_the_release_it_makes(repo_root: Path, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / f"framefleet-{ID}")
    (bundle / "bin/framefleet").write_text('#!/bin/sh\necho "$0 $*"; exit 7\n')
    for name in ("__init__", "bootstrap", "bundle", "errors", "release", "run_lock"):
        shutil.copyfile(repo_root / "deploy" / f"{name}.py", bundle / "deploy" / f"{name}.py")
    for file in (repo_root / "framefleet").glob("*.py"):
        shutil.copyfile(file, bundle / "framefleet" / file.name)
    text = (bundle / "deploy/bootstrap.py").read_text()
    (bundle / "deploy/bootstrap.py").write_text(
        text.replace("import cv2, deploy.__main__, service.app", "import small")
    )
    write_sums(bundle)
    tar = tmp_path / "bundle.tar"
    subprocess.run(["tar", "-cf", tar, "-C", tmp_path, bundle.name], check=True)
    install = tmp_path / "opt"
    done = run_script(repo_root, str(tar), "--host", "gpu1", INSTALL=str(install))
    assert done.returncode == 7, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith(f"{install}/releases/{ID}/bin/framefleet deploy --bundle {install}/incoming.")
    assert last.endswith(" --host gpu1")
    assert sorted(path.name for path in install.iterdir()) == ["deploy.lock", "releases"]


def test_the_script_says_what_it_needs(repo_root: Path, tmp_path: Path) -> None:
    assert "no such bundle" in run_script(repo_root, str(tmp_path / "gone.tar"), INSTALL=str(tmp_path)).stderr
    assert "make bundle" in run_script(repo_root, INSTALL=str(tmp_path)).stderr
    assert "not found" in run_script(repo_root, PYTHON="/no/python", INSTALL=str(tmp_path)).stderr
