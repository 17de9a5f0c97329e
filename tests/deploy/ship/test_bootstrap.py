"""A small bundle, made by hand around one wheel, becomes a release with a real venv and a real pip."""

import hashlib
import importlib.util
import json
import os
import platform
import py_compile
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from deploy.errors import CheckError, ControlError, PreflightError
from deploy.machine.run_lock import Holder, deploy_lock
from deploy.ship.bootstrap import build
from deploy.ship.bundle import Entry
from deploy.ship.run_bundle import sign
from tests.users import NOBODY, as_root

ID = "20260102T030405Z-abc"
IMPORTS = "import small, service, deploy"
STDLIB_ONLY = "import sys; sys.path.insert(0, sys.argv[1]); import deploy.ship.bootstrap"
WHEEL = {
    "small.py": "NAME = 'small'\n",
    "small-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: small\nVersion: 1.0\n",
    "small-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "small-1.0.dist-info/RECORD": "small.py,,\n",
}


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def write_sums(bundle: Path) -> None:
    files = sorted(path for path in bundle.rglob("*") if path.is_file() and not path.name.startswith("SHA256SUMS"))
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
    # As on a stick, or in a tar that somebody made anew around what was signed.
    for path in bundle.rglob("*"):
        path.chmod(0o777)
    (bundle / "service/__init__.py").chmod(0o6600)
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
    assert (release.stat().st_mode & 0o7777, (release / "lock").stat().st_mode & 0o7777) == (0o755, 0o755)
    assert {(release / name).stat().st_mode & 0o7777 for name in ("service/__init__.py", "SHA256SUMS")} == {0o644}
    assert os.access(release / "bin/framefleet", os.X_OK)


def test_a_release_that_is_in_place_is_left_alone(built: tuple[Path, Path]) -> None:
    bundle, release = built
    said: list[str] = []
    before = {path: path.stat().st_mtime_ns for path in release.rglob("*")}
    assert build(bundle, release.parents[1], said.append, IMPORTS) == release
    assert said == [f"== verify: the files of release {ID}", f"== build: release {ID} is in place"]
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
    (bundle / "service/__pycache__").mkdir()
    (bundle / "service/__pycache__/app.cpython-311.pyc").write_text("slipped in")
    (bundle / "deploy/linked").symlink_to("/etc")
    os.mkfifo(bundle / "deploy/fifo")
    (bundle / "built").mkdir()
    (bundle / "bin/framefleet").rename(tmp_path / "elsewhere")
    (bundle / "bin/framefleet").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckError) as caught:
        build(bundle, tmp_path / "opt", lambda line: None, IMPORTS)
    assert [f"{problem.where}: {problem.what}" for problem in caught.value.problems] == [
        "model/m.onnx: missing in the bundle",
        "built: not listed in SHA256SUMS",
        "deploy/fifo: not listed in SHA256SUMS",
        "deploy/linked: not listed in SHA256SUMS",
        "service/__pycache__: not listed in SHA256SUMS",
        "service/__pycache__/app.cpython-311.pyc: not listed in SHA256SUMS",
        "service/more.py: not listed in SHA256SUMS",
        "bin/framefleet: damaged: its hash differs",
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


def run_script(
    repo_root: Path, *arguments: str, script: str = "", **environment: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["sh", script or str(repo_root / "tools/deploy.sh"), *arguments],
        env={**os.environ, "PYTHON": sys.executable, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def make_whole_bundle(repo_root: Path, tmp_path: Path) -> Path:
    bundle = make_bundle(tmp_path / f"framefleet-{ID}")
    (bundle / "bin/framefleet").write_text('#!/bin/sh\necho "$0 $*"; exit 7\n')
    for name in ("", "machine/", "ship/"):
        (bundle / "deploy" / name).mkdir(exist_ok=True)
        shutil.copyfile(repo_root / "deploy" / f"{name}__init__.py", bundle / "deploy" / f"{name}__init__.py")
    for name in ("errors", "release", "machine/run_files", "machine/run_lock", "ship/bootstrap", "ship/bundle"):
        shutil.copyfile(repo_root / "deploy" / f"{name}.py", bundle / "deploy" / f"{name}.py")
    without = shutil.ignore_patterns("__pycache__", "client")
    shutil.copytree(repo_root / "framefleet", bundle / "framefleet", ignore=without, dirs_exist_ok=True)
    text = (bundle / "deploy/ship/bootstrap.py").read_text()
    (bundle / "deploy/ship/bootstrap.py").write_text(
        text.replace("import cv2, deploy.__main__, service.app", "import small")
    )
    write_sums(bundle)
    return bundle


def pack(bundle: Path) -> Path:
    tar = bundle.with_name("bundle.tar")
    subprocess.run(["tar", "-cf", tar, "-C", bundle.parent, bundle.name], check=True)
    return tar


def test_the_script_hands_a_bundle_to_the_release_it_makes(repo_root: Path, tmp_path: Path) -> None:
    tar = pack(make_whole_bundle(repo_root, tmp_path))
    install = tmp_path / "opt"
    done = run_script(repo_root, str(tar), "--host", "gpu1", INSTALL=str(install))
    assert done.returncode == 7, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith(f"{install}/releases/{ID}/bin/framefleet deploy --bundle {install}/incoming.")
    assert last.endswith(" --host gpu1")
    assert sorted(path.name for path in install.iterdir()) == ["deploy.lock", "releases"]


MARK = "open({mark!r}, 'w').close()\n"


def compiled(bundle: Path, name: str, code: str) -> Path:
    """Bytecode that Python takes for a module's without a look at its source."""
    source = bundle.with_name("planted.py")
    source.write_text(code)
    place = Path(importlib.util.cache_from_source(str(bundle / name)))
    py_compile.compile(str(source), str(place), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    return place


@pytest.mark.parametrize(
    "place",
    [
        "deploy/ship/__pycache__/bootstrap",
        "framefleet/__pycache__/command",
        "json.py",
        "deploy/ship/bootstrap/__init__.py",
        "link",
        "fifo",
    ],
)
def test_nothing_runs_of_a_bundle_that_holds_what_is_not_listed(repo_root: Path, tmp_path: Path, place: str) -> None:
    bundle, mark = make_whole_bundle(repo_root, tmp_path), tmp_path / "ran"
    code = MARK.format(mark=str(mark))
    if "__pycache__" in place:
        compiled(bundle, place.replace("__pycache__/", "") + ".py", code)
    elif place == "fifo":
        os.mkfifo(bundle / place)
    elif place == "link":
        (tmp_path / "elsewhere").mkdir()
        (bundle / place).symlink_to(tmp_path / "elsewhere")
    else:
        (bundle / place).parent.mkdir(exist_ok=True)
        (bundle / place).write_text(code)
    for arguments in ((str(pack(bundle)),), ()):
        script = bundle / "deploy.sh"
        shutil.copy(repo_root / "tools/deploy.sh", script)
        if not arguments:
            write_line(bundle, script)
        done = run_script(repo_root, *arguments, INSTALL=str(tmp_path / "opt"), script=str(script))
        assert done.returncode == 1
        assert place in done.stderr and (
            "not listed in SHA256SUMS; unpack" in done.stderr or "no plain file" in done.stderr
        )
        assert not mark.exists() and not (tmp_path / "opt/releases").exists()


def write_line(bundle: Path, file: Path) -> None:
    with (bundle / "SHA256SUMS").open("a") as sums:
        sums.write(f"{digest(file)}  {file.relative_to(bundle)}\n")


def ssh_key(folder: Path, name: str) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", folder / name], check=True)
    return folder / name


def signed(bundle: Path, key: Path) -> Path:
    entry = sign(Entry(PurePosixPath("SHA256SUMS"), bundle / "SHA256SUMS"), key)
    assert isinstance(entry.content, bytes)
    (bundle / entry.path).write_bytes(entry.content)
    return bundle


@pytest.fixture
def signers(tmp_path: Path) -> Path:
    file = tmp_path / "allowed_signers"
    public = ssh_key(tmp_path, "anna").with_suffix(".pub").read_text()
    other = ssh_key(tmp_path, "carl").with_suffix(".pub").read_text()
    file.write_text(f'# who may\ncarl,dora {other}anna@example.com namespaces="framefleet" {public}')
    return file


def test_a_host_with_signers_takes_a_bundle_that_one_of_them_signed(
    repo_root: Path, tmp_path: Path, signers: Path
) -> None:
    bundle = signed(make_whole_bundle(repo_root, tmp_path), tmp_path / "anna")
    done = run_script(repo_root, str(pack(bundle)), INSTALL=str(tmp_path / "opt"), SIGNERS=str(signers))
    assert (done.returncode, done.stdout.splitlines()[0]) == (7, "== signature: of anna@example.com"), done.stderr
    for signer in ("carl", "anna"):  # now that it is in place
        signed(bundle, tmp_path / signer)
        done = run_script(repo_root, str(pack(bundle)), INSTALL=str(tmp_path / "opt"), SIGNERS=str(signers))
        assert (done.returncode, f"== signature: of {signer}" in done.stdout) == (7, True), done.stderr
    # Unpacked where others may write, it is checked and run where they may not.
    script = shutil.copy(repo_root / "tools/deploy.sh", bundle / "deploy.sh")
    write_sums(bundle)
    refused = run_script(repo_root, INSTALL=str(tmp_path / "opt"), SIGNERS=str(signers), script=str(script))
    assert (refused.returncode, "does not fit the bundle" in refused.stderr) == (1, True)
    (tmp_path / "opt/releases" / ID / "built").write_text(digest(bundle / "SHA256SUMS"))
    signed(bundle, tmp_path / "anna")
    bundle.chmod(0o777)
    done = run_script(repo_root, INSTALL=str(tmp_path / "opt"), SIGNERS=str(signers), script=str(script))
    assert (done.returncode, f"--bundle {tmp_path}/opt/incoming." in done.stdout) == (7, True), done.stderr


def unsigned(bundle: Path, signers: Path) -> None:
    """As it was packed."""


def by_another(bundle: Path, signers: Path) -> None:
    signed(bundle, ssh_key(bundle.parent, "eve"))


def changed_since(bundle: Path, signers: Path) -> None:
    signed(bundle, bundle.parent / "anna")
    (bundle / "deploy/ship/bootstrap.py").write_text("raise SystemExit('it ran')\n")
    write_sums(bundle)


def changed_without_new_sums(bundle: Path, signers: Path) -> None:
    signed(bundle, bundle.parent / "anna")
    (bundle / "deploy/ship/bootstrap.py").write_text("raise SystemExit('it ran')\n")


def for_something_else(bundle: Path, signers: Path) -> None:
    command = ["ssh-keygen", "-q", "-Y", "sign", "-f", bundle.parent / "anna", "-n", "git", bundle / "SHA256SUMS"]
    subprocess.run(command, check=True, capture_output=True)


def expired(bundle: Path, signers: Path) -> None:
    signed(bundle, bundle.parent / "anna")
    public = (bundle.parent / "anna.pub").read_text()
    signers.write_text(f'anna@example.com valid-before="20200101" {public}')


def no_signers(bundle: Path, signers: Path) -> None:
    signed(bundle, bundle.parent / "anna")
    signers.unlink()
    signers.symlink_to("gone")


def signers_of_another(bundle: Path, signers: Path) -> None:
    signed(bundle, bundle.parent / "anna")
    os.chown(signers, NOBODY, NOBODY)


def signers_of_anybody(bundle: Path, signers: Path) -> None:
    signed(bundle, bundle.parent / "anna")
    signers.chmod(0o666)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(unsigned, "the bundle is not signed, and this host takes only .* SIGN_KEY=", id="unsigned"),
        pytest.param(by_another, r"signed by none of .*allowed_signers: Good .* SHA256:\S+; have one", id="another"),
        pytest.param(changed_since, "the signature does not fit the bundle", id="changed"),
        pytest.param(changed_without_new_sums, "damaged: hashes differ", id="damaged"),
        pytest.param(for_something_else, "the signature does not fit the bundle", id="a signature of something else"),
        pytest.param(expired, "signed by none of", id="expired"),
        pytest.param(no_signers, "allowed_signers: no file that can be read; list there", id="no signers"),
        pytest.param(signers_of_anybody, "others may write it; chown 0 .*; chmod 644", id="anybody's signers"),
        pytest.param(signers_of_another, "others may write it; chown 0 ", id="another's signers", marks=as_root),
    ],
)
def test_a_host_with_signers_runs_nothing_of_any_other_bundle(
    repo_root: Path, tmp_path: Path, signers: Path, spoil: Callable[[Path, Path], None], message: str
) -> None:
    bundle = make_whole_bundle(repo_root, tmp_path)
    spoil(bundle, signers)
    install = tmp_path / "opt"
    done = run_script(repo_root, str(pack(bundle)), INSTALL=str(install), SIGNERS=str(signers))
    assert done.returncode == 1
    assert re.search(f"deploy: .*{message}", done.stderr, re.DOTALL), done.stderr
    assert "it ran" not in done.stderr
    assert list(install.iterdir()) == []


def test_a_host_without_ssh_keygen_that_asks_for_signatures_takes_nothing(
    repo_root: Path, tmp_path: Path, signers: Path
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "find", "mkdir", "mktemp", "rm", "tar", "dirname", "tr"):
        found = shutil.which(name)
        assert found
        (tools / name).symlink_to(found)
    tar = pack(signed(make_whole_bundle(repo_root, tmp_path), tmp_path / "anna"))
    done = run_script(repo_root, str(tar), INSTALL=str(tmp_path / "opt"), SIGNERS=str(signers), PATH=str(tools))
    assert (done.returncode, "apt-get install openssh-client" in done.stderr) == (1, True), done.stderr


def test_a_key_that_cannot_sign_is_named(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("no key")
    with pytest.raises(PreflightError, match=r"SIGN_KEY=.*key: .*; name an ssh key, or the \.pub of one"):
        sign(Entry(PurePosixPath("SHA256SUMS"), b"text"), tmp_path / "key")


def test_what_deploy_fleet_carried_here_days_ago_is_still_deployed(repo_root: Path, tmp_path: Path) -> None:
    carried, cut_off = tmp_path / "opt/incoming.fleet", tmp_path / "opt/incoming.abcdef"
    carried.mkdir(parents=True)
    (carried / "bundle.tar").write_text("no tar")
    cut_off.mkdir()
    for folder in (carried, cut_off):
        os.utime(folder, (0, 0))
    done = run_script(repo_root, str(carried / "bundle.tar"), INSTALL=str(tmp_path / "opt"))
    assert (done.returncode != 0, "not look like a tar archive" in done.stderr) == (True, True), done.stderr
    assert [path.name for path in (tmp_path / "opt").iterdir()] == ["incoming.fleet"]


@pytest.mark.parametrize(("owner", "mode"), [pytest.param(NOBODY, 0o755, marks=as_root), (os.geteuid(), 0o1777)])
def test_nothing_is_unpacked_where_others_may_swap_it(repo_root: Path, tmp_path: Path, owner: int, mode: int) -> None:
    install = tmp_path / "opt"
    install.mkdir()
    os.chown(install, owner, -1)
    install.chmod(mode)
    done = run_script(repo_root, str(pack(make_bundle(tmp_path / "bundle"))), INSTALL=str(install))
    assert (done.returncode, list(install.iterdir())) == (1, [])
    assert f"{install}: others may swap what is checked there; chown 0 {install}; chmod go-w {install}" in done.stderr


def test_a_name_in_a_bundle_does_not_steer_the_terminal(repo_root: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "SHA256SUMS").write_text("")
    for name in ("\x1b[2J", "\x9b31m"):
        (bundle / name).write_text("")
    done = run_script(repo_root, str(pack(bundle)), INSTALL=str(tmp_path / "opt"))
    assert (done.returncode, "?[2J" in done.stderr) == (1, True)
    assert not {"\x1b", "\x9b"} & {*done.stderr}


def test_the_script_says_what_it_needs(repo_root: Path, tmp_path: Path) -> None:
    assert "no such bundle" in run_script(repo_root, str(tmp_path / "gone.tar"), INSTALL=str(tmp_path)).stderr
    assert "make bundle" in run_script(repo_root, INSTALL=str(tmp_path)).stderr
    assert "not found" in run_script(repo_root, PYTHON="/no/python", INSTALL=str(tmp_path)).stderr


def test_the_script_takes_no_python_of_an_active_environment(repo_root: Path, tmp_path: Path) -> None:
    (tmp_path / "conda/bin").mkdir(parents=True)
    (tmp_path / "conda/bin/python3").write_text("#!/bin/sh\necho active >&2; exit 1\n")
    (tmp_path / "conda/bin/python3").chmod(0o755)
    path = f"{tmp_path}/conda/bin:{os.environ['PATH']}"
    hostile = {"PATH": path, "CONDA_PREFIX": f"{tmp_path}/conda", "PYTHON": "", "PYTHONPATH": "/no", "CDPATH": "/usr"}
    done = run_script(repo_root, "--host", "gpu1", **hostile)
    assert (done.returncode, "active" in done.stderr) == (1, False)
    assert "deploy: name a bundle" in done.stderr
