"""A bundle is made from this checkout; its wheels are one stand-in, as fetching the real ones takes a network."""

import json
import platform
import subprocess
import sys
import tarfile
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from deploy.errors import SettingsError
from deploy.ship.run_bundle import BundleOptions, make_bundle
from framefleet.whole_file import sha256

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
FLEET = '[model]\nfile = "{file}"\nsha256 = "{sha256}"\n[[hosts]]\nname = "gpu1"\ncpu = 1\n'


@pytest.fixture
def out(tmp_path: Path, repo_root: Path) -> Path:
    """A folder that has the lock's wheels already."""
    lock = sha256(repo_root / "lock/service.txt")[:12]
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    wheels = tmp_path / "build" / f"wheels-{lock}-{python}-{platform.machine()}"
    wheels.mkdir(parents=True)
    (wheels / "small-1.0-py3-none-any.whl").write_bytes(b"wheel")
    (tmp_path / "frame.jpg").write_bytes(b"jpeg")
    return tmp_path / "build"


def options(out: Path, model: str = "simulated:", digest: str = "", slice_mb: int = 0) -> BundleOptions:
    fleet = out.parent / "fleet.toml"
    fleet.write_text(FLEET.format(file=model, sha256=digest))
    return BundleOptions(fleet, out, picture=out.parent / "frame.jpg", slice_mb=slice_mb)


def test_a_bundle_unpacks_to_one_folder_whose_sums_hold(out: Path, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"weights")
    said: list[str] = []
    tar = make_bundle(options(out, "m.onnx"), said.append, NOW)
    assert tar.name.startswith("framefleet-20260102T030405Z-") and tar.suffix == ".tar"
    assert said[-1].startswith(f"{tar}: ")
    with tarfile.open(tar) as archive:
        archive.extractall(tmp_path / "there", filter="data")
    (folder,) = (tmp_path / "there").iterdir()
    assert folder.name == tar.stem
    sums = ["sha256sum", "--quiet", "--strict", "-c", "SHA256SUMS"]
    assert subprocess.run(sums, cwd=folder, check=False).returncode == 0
    release = json.loads((folder / "release.json").read_text())
    assert (release["id"], release["model"]) == (tar.stem.removeprefix("framefleet-"), "m.onnx")
    assert release["model_sha256"] == sha256(tmp_path / "m.onnx")
    assert (folder / "model/m.onnx").read_bytes() == b"weights"


def test_a_signed_bundle_carries_a_signature_of_its_sums(out: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    tar = make_bundle(replace(options(out), sign_key=key), lambda line: None, NOW)
    with tarfile.open(tar) as archive:
        archive.extractall(tmp_path / "there", filter="data")
    folder = tmp_path / "there" / tar.stem
    (tmp_path / "signers").write_text(f"anna {key.with_suffix('.pub').read_text()}")
    verify = ["ssh-keygen", "-Y", "verify", "-n", "framefleet", "-f", tmp_path / "signers", "-I", "anna", "-s"]
    with (folder / "SHA256SUMS").open("rb") as sums:
        done = subprocess.run([*verify, folder / "SHA256SUMS.sig"], stdin=sums, check=False)
    assert done.returncode == 0


def test_a_bundle_is_not_begun_for_a_key_that_is_not_there(out: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"SIGN_KEY=.*none: is no file"):
        make_bundle(replace(options(out), sign_key=tmp_path / "none"), lambda line: None, NOW)
    assert list(out.glob("*.tar")) == []


def test_slices_are_joined_on_the_other_side(out: Path, tmp_path: Path) -> None:
    tar = make_bundle(options(out, slice_mb=1), lambda line: None, NOW)
    whole = tar.read_bytes()
    tar.unlink()
    done = subprocess.run(["sh", f"{tar}.join.sh"], cwd=tmp_path, check=False, timeout=60)
    assert done.returncode == 0
    assert tar.read_bytes() == whole


@pytest.mark.parametrize(
    ("model", "digest", "message"),
    [
        pytest.param("gone.onnx", "", "model.file: .*gone.onnx is no file", id="missing"),
        pytest.param("fleet.toml", "0" * 64, "model.sha256: .* has [0-9a-f]{64}", id="another file"),
    ],
)
def test_the_wrong_model_makes_no_bundle(out: Path, model: str, digest: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        make_bundle(options(out, model, digest), lambda line: None, NOW)
    assert list(out.glob("*.tar")) == []
