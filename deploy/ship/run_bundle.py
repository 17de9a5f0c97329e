"""Makes a bundle: fetches wheels, reads the model, writes the tar and its slices. `bundle` decides what goes in."""

import io
import os
import platform
import sys
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from deploy.checks.smoke import first_frame
from deploy.describe.fleet_file import read_inventory
from deploy.describe.inventory import Model
from deploy.errors import PreflightError, Problem, SettingsError
from deploy.machine import run
from deploy.release import SIGNATURE, SUMS, Release, release_id
from deploy.ship.bundle import CODE, Entry, entries, join_recipe, slice_names, sum_lines, sums
from framefleet.pip import PipError, pip_environment
from framefleet.whole_file import sha256

MEGABYTE = 10**6
# What signatures are for: one that was made for a mail or a commit is none for a bundle. As in tools/deploy.sh.
NAMESPACE = "framefleet"
SAMPLE_VIDEO = Path("var") / "video" / "carphone_pristine.mp4"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BundleOptions:
    """What the person at the command line asked for.

    Attributes:
        fleet: the fleet.toml the bundle is for.
        out: folder the bundle is written to.
        picture: JPEG or PNG that instances are checked with; None takes the sample video's first frame.
        more_wheels: folder of wheels beside those of the lock, such as TensorRT's; None for none.
        slice_mb: size of slices, MB; 0 writes none.
        sign_key: ssh key that the bundle is signed with, or the public half of one that an agent holds; None for none.
    """

    fleet: Path
    out: Path
    picture: Path | None = None
    more_wheels: Path | None = None
    slice_mb: int = 0
    sign_key: Path | None = None


def make_bundle(options: BundleOptions, say: Say, now: datetime | None = None) -> Path:
    """Writes `framefleet-<id>.tar`, with slices beside it if they are asked for.

    Args:
        options: what was asked for.
        say: takes one line per step.
        now: UTC; the present moment unless a test says otherwise.

    Returns:
        The tar.

    Raises:
        DeployError: fleet.toml, the model or the wheels are not as they have to be.
    """
    root = run.this_code().repo
    model = _model(options.fleet, read_inventory(options.fleet).model)
    if (key := options.sign_key) and not key.is_file():
        raise SettingsError(Problem(f"SIGN_KEY={key}", "is no file", "name an ssh key, such as ~/.ssh/id_ed25519"))
    options.out.mkdir(parents=True, exist_ok=True)
    release = _release(root, model, now or datetime.now(timezone.utc))
    listed = entries(
        root,
        release,
        inventory=options.fleet,
        picture=options.picture.read_bytes() if options.picture else first_frame(root / SAMPLE_VIDEO),
        model=model,
        wheels=_wheels(root / "lock" / "service.txt", options.out, say),
        more_wheels=sorted(options.more_wheels.glob("*.whl")) if options.more_wheels else (),
    )
    tar = options.out / f"framefleet-{release.id}.tar"
    summed = sums(listed)
    signature = (sign(summed, options.sign_key),) if options.sign_key else ()
    _write_tar(tar, release, (*listed, summed, *signature))
    signed = f", signed with {options.sign_key}" if signature else ""
    say(f"{tar}: {tar.stat().st_size / MEGABYTE:.0f} MB, {len(listed)} files{signed}")
    if options.slice_mb:
        _slice(tar, options.slice_mb * MEGABYTE, say)
    return tar


def sign(summed: Entry, key: Path) -> Entry:
    """Signs SHA256SUMS, as a host with a file of allowed signers checks it (tools/deploy.sh).

    Raises:
        PreflightError: there is no ssh-keygen, or it cannot use the key.
    """
    with TemporaryDirectory() as folder:
        file = Path(folder) / SUMS
        file.write_bytes(summed.content if isinstance(summed.content, bytes) else summed.content.read_bytes())
        try:
            done = run.run_command(("ssh-keygen", "-Y", "sign", "-f", str(key), "-n", NAMESPACE, str(file)))
        except FileNotFoundError:
            what = "needed to sign the bundle, not found"
            raise PreflightError(Problem("ssh-keygen", what, "apt-get install openssh-client")) from None
        if done.code != 0:
            last = (done.output.strip().splitlines() or ["no output"])[-1]
            fix = "name an ssh key, or the .pub of one that ssh-agent holds"
            raise PreflightError(Problem(f"SIGN_KEY={key}", last, fix))
        return Entry(PurePosixPath(SIGNATURE), (file.parent / SIGNATURE).read_bytes())


def _model(fleet: Path, model: Model) -> Path | None:
    if model.simulated:
        return None
    file = fleet.absolute().parent / model.file
    if not file.is_file():
        raise SettingsError(Problem(f"{fleet}: model.file", f"{file} is no file", "name one, relative to fleet.toml"))
    found = sha256(file)
    if model.sha256 not in ("", found):
        fix = "correct it, or get the right file"
        raise SettingsError(Problem(f"{fleet}: model.sha256", f"{file} has {found}", fix))
    return file


def _release(root: Path, model: Path | None, now: datetime) -> Release:
    return Release(
        id=release_id(now, _revision(root)),
        created=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        python=f"{sys.version_info[0]}.{sys.version_info[1]}",
        machine=platform.machine(),
        model=model.name if model else "",
        model_sha256=sha256(model) if model else "",
    )


def _revision(root: Path) -> str:
    """Of the checkout, marked if it has changes of its own; `unversioned` where git knows nothing."""
    try:
        head = run.run_command(("git", "-C", str(root), "rev-parse", "--short=12", "HEAD"))
        changes = run.run_command(("git", "-C", str(root), "status", "--porcelain", "--", *CODE, "lock"))
    except FileNotFoundError:
        return "unversioned"
    if head.code != 0:
        return "unversioned"
    return head.output.strip() + ("-changed" if changes.output.strip() else "")


def _wheels(lock: Path, out: Path, say: Say) -> tuple[Path, ...]:
    """The wheels of a lock file for this Python and architecture; kept in `out`, so that they are fetched once."""
    folder = out / f"wheels-{sha256(lock)[:12]}-{sys.version_info[0]}.{sys.version_info[1]}-{platform.machine()}"
    if not folder.exists():
        say(f"fetching the wheels of {lock.name}")
        partial = folder.with_suffix(".partial")
        run.remove(partial)
        options = ("--no-deps", "--require-hashes", "--only-binary=:all:", "--quiet", "--disable-pip-version-check")
        command = (sys.executable, "-I", "-m", "pip", "download", *options, "-r", str(lock), "-d", str(partial))
        done = run.run_command(command, _pip_environment())
        if done.code != 0:
            last = (done.output.strip().splitlines() or ["no output"])[-1]
            raise PreflightError(Problem(f"wheels of {lock.name}", last, "this step needs the network, hosts do not"))
        partial.rename(folder)
    return tuple(sorted(folder.glob("*.whl")))


def _pip_environment() -> dict[str, str]:
    try:
        return pip_environment("download")
    except PipError as error:
        raise PreflightError(Problem("pip", str(error), "correct them")) from None


def _write_tar(tar: Path, release: Release, listed: Sequence[Entry]) -> None:
    partial = tar.with_suffix(".partial")
    moment = int(datetime.strptime(release.created, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp())
    with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as archive:
        for entry in listed:
            info = tarfile.TarInfo(f"framefleet-{release.id}/{entry.path}")
            info.mode, info.mtime = entry.mode, moment
            if isinstance(entry.content, bytes):
                info.size = len(entry.content)
                archive.addfile(info, io.BytesIO(entry.content))
            else:
                info.size = entry.content.stat().st_size
                with entry.content.open("rb") as file:
                    archive.addfile(info, file)
    os.replace(partial, tar)


def _slice(tar: Path, slice_bytes: int, say: Say) -> None:
    names = slice_names(tar.name, tar.stat().st_size, slice_bytes)
    with tar.open("rb") as whole:
        for name in names:
            with (tar.parent / name).open("wb") as part:
                _copy_bytes(whole, part, slice_bytes)

    def digest(name: str) -> str:
        return sha256(tar.parent / name)

    (tar.parent / f"{tar.name}.sha256").write_text(sum_lines((tar.name,), digest))
    (tar.parent / f"{tar.name}.slices.sha256").write_text(sum_lines(names, digest))
    join = tar.parent / f"{tar.name}.join.sh"
    join.write_text(join_recipe(tar.name, names))
    join.chmod(0o755)
    say(f"{len(names)} slices, {tar.name}.sha256 and .slices.sha256; on the other side: sh {join.name}")


def _copy_bytes(source: io.BufferedReader, target: io.BufferedWriter, count: int) -> None:
    while count > 0 and (block := source.read(min(count, 2**20))):
        target.write(block)
        count -= len(block)
