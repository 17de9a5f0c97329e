"""What a deploy does to a host beside what `run` does: users, folders, links, models, a trial process.

Everything here does one thing to the machine and decides nothing.
"""

import grp
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from deploy.errors import CheckError, ControlError, PreflightError, Problem
from deploy.machine import run
from deploy.machine.run_files import give, open_to_append
from framefleet.whole_file import sha256

GONE_LIMIT_S = 45.0
# A deploy that is killed must not leave its trial behind.
WITH_PARENT = ("setpriv", "--pdeathsig", "TERM")


class Child(Protocol):
    """A process that was started."""

    @property
    def pid(self) -> int:
        """Its id; of its session too."""
        ...

    def poll(self) -> int | None:
        """Its exit code once it has ended."""
        ...


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that has to exist.

    Attributes:
        path: absolute.
        mode: permission bits.
        user: who owns it.
        group: likewise.
    """

    path: Path
    mode: int
    user: str
    group: str


def ensure_user(user: str, group: str, home: Path) -> bool:
    """Makes the system user and group, as far as they do not exist; True if the user was made.

    Raises:
        PreflightError: it could not be made.
    """
    with suppress(KeyError):
        pwd.getpwnam(user)
        grp.getgrnam(group)
        return False
    options = ("--system", "--gid", group, "--home-dir", str(home), "--no-create-home", "--shell", "/usr/sbin/nologin")
    commands: tuple[tuple[str, ...], ...] = (
        ("groupadd", "--system", "--force", group),
        ("useradd", *options, user),
    )
    for command in commands:
        outcome = run.run_command(command)
        if outcome.code != 0:
            raise PreflightError(Problem(f"user {user}", outcome.output.strip(), "make it yourself, then deploy again"))
    return True


def remove_user(user: str) -> None:
    """Removes the system user; its group goes with it."""
    run.run_command(("userdel", user))


def make_folders(folders: Sequence[Folder]) -> None:
    """Makes folders, and gives those that exist the owner and mode they should have."""
    for folder in folders:
        uid, gid = pwd.getpwnam(folder.user).pw_uid, grp.getgrnam(folder.group).gr_gid
        give(folder.path, uid, gid, folder.mode)


def remove_if_empty(folder: Path) -> None:
    """Removes a folder, unless others have put something there."""
    with suppress(OSError):
        folder.rmdir()


def flush_disks() -> None:
    """Waits until everything written so far would survive a power cut."""
    os.sync()


def point(link: Path, target: Path) -> None:
    """Lets a symbolic link name a target, from one moment to the next."""
    if link.is_symlink() and link.readlink() == target:
        return
    temporary = link.with_name(f".{link.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)
    run.flush(link.parent)


def place_model(source: Path, target: Path, listed: Mapping[str, str]) -> None:
    """Copies a model file, and the manifest beside it if there is one, where models are kept.

    Args:
        source: in an unpacked bundle, which somebody else may write to.
        target: the model's place.
        listed: SHA-256 by path in the release's own bundle.

    Raises:
        CheckError: either is not what came with the release.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for suffix in (".json", source.suffix):
        if (file := source.with_suffix(suffix)).exists():
            temporary = target.with_name(f".{target.name}.new")
            shutil.copyfile(file, temporary)
            if sha256(temporary) != listed.get(f"model/{file.name}"):
                temporary.unlink()
                what = "is not the file that the bundle of this release holds"
                raise CheckError(Problem(str(file), what, "deploy that bundle, by deploy.sh"))
            temporary.chmod(0o644)
            temporary.replace(target.with_suffix(suffix))
    flush_disks()


def has_model(target: Path, digest: str) -> bool:
    """True if the model is there, undamaged."""
    return target.is_file() and sha256(target) == digest


def append_line(log: Path, line: str) -> None:
    """Adds a line with its time to a log, where its folder exists already.

    Raises:
        ControlError: something else stands there: the folder is the service user's.
        OSError: such as a full disk.
    """
    with suppress(FileNotFoundError), open_to_append(log, 0o640) as file:
        file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {line}\n")


@contextmanager
def trial_process(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path, user: str
) -> Iterator[Child]:
    """Runs a process group as a user for a while; TERM ends it, KILL what is left after that.

    Args:
        command: what to run.
        environment: all of its environment.
        folder: where it runs.
        log: takes what it prints; overwritten.
        user: who it runs as, with that user's groups.
    """
    account = pwd.getpwnam(user)
    groups = os.getgrouplist(user, account.pw_gid) if os.geteuid() == 0 else None
    as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": groups} if groups else {}
    with log.open("wb") as output:
        process = subprocess.Popen(  # type: ignore[call-overload]
            (*WITH_PARENT, *command),
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **as_user,
        )
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(GONE_LIMIT_S)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def to_terminal_and_log(say: Callable[[str], None], log: Path) -> Callable[[str], None]:
    """Makes what shows a line and keeps it; neither a terminal that has gone nor a log stops a deploy half-way."""
    told = ""

    def both(line: str) -> None:
        nonlocal told
        lines = [line]
        try:
            append_line(log, line)
        except (OSError, ControlError) as error:
            if str(error) != told:
                told = str(error)
                lines.append(f"note: this is not kept: {told}")
        with suppress(OSError):
            for each in lines:
                say(each)

    return both
