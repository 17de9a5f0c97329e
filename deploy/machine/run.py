"""Starts processes, sends signals and writes files, as run_host and run_bundle do for hosts; recipes tell it when.

Everything here does one thing to the machine and decides nothing.
"""

import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from types import FrameType
from typing import NoReturn

from deploy.errors import ControlError, Problem, StartError
from deploy.fleet import Code, HostFacts
from deploy.machine import run_files
from deploy.machine.command import Outcome, find_nginx
from deploy.machine.cpus import cpu_nodes
from deploy.machine.devices import SYS, Devices, find_devices, load_nvml
from deploy.machine.ownership import in_roots_way, refuse_strangers, running_stranger
from deploy.machine.processes import Process
from deploy.machine.run_files import make_folder
from deploy.machine.run_lock import deploy_lock, this_holder
from deploy.paths import Paths
from deploy.rendered_file import RenderedFile

# What supervisord, and so every program, inherits of the caller's environment. FRAMEFLEET_* settings reach the
# instances by being rendered; anything else (GUNICORN_CMD_ARGS, NGINX, make's flags) would change them in secret.
INHERITED = frozenset({"PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH"})
INHERITED_PREFIXES = ("LC_", "CUDA_", "NVIDIA_")
COMMAND_NOT_FOUND = 127
# More connections than these are refused until some are taken.
BACKLOG = 512
# Of linux/fcntl.h and linux/fs.h.
AT_FDCWD = -100
RENAME_EXCHANGE = 2
SIGNALLED = 128
# Recipes need not know where these stand.
remove, write_text = run_files.remove, run_files.write_text


def host_facts(nginx: Path | None, environ: Mapping[str, str]) -> HostFacts:
    """Looks at the machine this runs on; a missing nginx is left for preflight to report."""
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return HostFacts(
        nginx=nginx or find_nginx(environ.get("PATH", "")) or Path("/usr/sbin/nginx"),
        cores=len(os.sched_getaffinity(0)),
        open_files=sys.maxsize if hard_limit == resource.RLIM_INFINITY else hard_limit,
        root=os.geteuid() == 0,
        cwd=Path.cwd(),
    )


def this_cpus() -> dict[int, tuple[int, ...]]:
    """The CPUs that this process may use, by NUMA node."""
    return cpu_nodes(os.sched_getaffinity(0), SYS)


def this_code() -> Code:
    """The code and the interpreter this runs in."""
    return Code(repo=Path(__file__).resolve().parents[2], python=Path(sys.executable))


def this_devices() -> Devices:
    """Looks for this machine's GPUs and CPUs.

    Raises:
        PreflightError: the GPU driver does not answer.
    """
    return find_devices(run_command, os.sched_getaffinity(0), load_nvml())


def run_command(command: Sequence[str], environ: Mapping[str, str] | None = None) -> Outcome:
    """Runs a command to its end, both output streams together; in this process's environment if none is given."""
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
        env=environ,
    )
    return Outcome(done.returncode, done.stdout)


def write_files(folder: Path, files: Sequence[RenderedFile]) -> None:
    """Makes a folder hold exactly these files."""
    remove(folder)
    for file in files:
        make_folder((folder / file.path).parent)
        write_text(folder / file.path, file.text, file.mode)


def rotate(log: Path, over_bytes: int) -> bool:
    """Sets a log aside that has grown over a size; True if it did, and who writes to it has to open it anew."""
    large = log.exists() and log.stat().st_size > over_bytes
    if large:
        log.replace(log.with_name(f"{log.name}.1"))
    return large


def begin_log(log: Path) -> bool:
    """Makes a log that was deleted anew, with a line that says so; False if it is there already.

    Raises:
        OSError: there is no place for it.
    """
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    except FileExistsError:  # be it as a link that leads nowhere
        return False
    try:
        os.write(descriptor, b"what was here before is deleted\n")
    except OSError:
        log.unlink()
        raise
    finally:
        os.close(descriptor)
    return True


def holds(folder: Path, files: Sequence[RenderedFile]) -> bool:
    """True if the folder holds exactly these files already."""
    return read_files(folder) == {file.path: file.text for file in files}


def read_files(folder: Path) -> dict[PurePosixPath, str]:
    """The text of every file in a folder, by its path in there; empty if there is no such folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {PurePosixPath(path.relative_to(folder)): path.read_text() for path in files}


def make_folders(paths: Paths) -> None:
    """Creates what the programs expect to exist.

    Raises:
        ControlError: a fleet of another user runs there. Not even root mixes its files with theirs.
    """
    if problem := running_stranger(paths) or next(in_roots_way(paths), None):
        raise ControlError(problem)
    for folder in paths.folders():
        make_folder(folder)


def replace_etc(paths: Paths, files: Sequence[RenderedFile]) -> None:
    """Writes the configuration beside the old one, then swaps; the old one stays as `etc.previous`.

    A power cut leaves the whole old or the whole new configuration in place.
    """
    write_files(paths.etc_new, files)
    for path in (*paths.etc_new.rglob("*"), paths.etc_new):
        flush(path)
    remove(paths.etc_previous)
    if any(paths.etc.iterdir()):
        _exchange(paths.etc_new, paths.etc)
        paths.etc_new.rename(paths.etc_previous)
    else:
        paths.etc_new.rename(paths.etc)  # takes the place of an empty folder
    flush(paths.etc.parent)


def _exchange(one: Path, other: Path) -> None:
    """Swaps two folders in one step, where the file system can; else in two."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) != 0:
        aside = one.with_name(f"{one.name}.aside")
        other.rename(aside)
        one.rename(other)
        aside.rename(one)


def flush(path: Path) -> None:
    """Waits until a file, or the names in a folder, would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def listening_at(path: Path) -> socket.socket:
    """Opens a unix socket, non-blocking, in the place of one that a process before this one may have left.

    Raises:
        OSError: it cannot be opened there.
    """
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.setblocking(False)
        listening.bind(str(new))
        listening.listen(BACKLOG)
        new.replace(path)
    except OSError:
        listening.close()
        raise
    return listening


def start_supervisord(code: Code, paths: Paths, environ: Mapping[str, str]) -> None:
    """Starts supervisord, which detaches itself from the terminal once its socket is open.

    Raises:
        StartError: it refused to start.
    """
    kept = {k: v for k, v in environ.items() if k in INHERITED or k.startswith(INHERITED_PREFIXES)}
    done = subprocess.run(
        [code.python, "-m", "supervisor.supervisord", "-c", paths.supervisor_conf],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        # Configuration is written as UTF-8, paths in it too, whatever the locale.
        env=kept | {"PYTHONUTF8": "1"},
        # Neither the caller's folder nor modules in it must matter to a process that stays.
        cwd=paths.state,
    )
    if done.returncode != 0:
        last = ([line for line in done.stdout.splitlines() if line.strip()] or ["no output"])[0]
        raise StartError(Problem("supervisord", last, f"see {paths.log_of('supervisord')}"))


def detach(work: Callable[[], None]) -> None:
    """Does something in a process of its own, which is no child of this one and in no group that is stopped with it."""
    if child := os.fork():
        os.waitpid(child, 0)
        return
    os.setsid()
    if os.fork() == 0:
        try:
            work()
        except Exception as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    os._exit(0)


def send(process: Process, number: signal.Signals, still_ours: Callable[[], bool]) -> None:
    """Signals one process of the fleet.

    Args:
        process: what to signal.
        number: the signal.
        still_ours: asked while the process id is pinned, so that an id that was given to another process meanwhile
            is never hit.
    """
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(process.pid)
        try:
            if still_ours():
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


@contextmanager
def fleet_lock(paths: Paths, what: str) -> Iterator[None]:
    """Lets one `up`, `down` or recovery at a time work on a fleet.

    Args:
        paths: the fleet's.
        what: what is done meanwhile, for who has to wait.

    Raises:
        ControlError: another one is at it, or the fleet is another user's.
    """
    refuse_strangers(paths)
    with deploy_lock(paths.lock, this_holder(what, os.environ)):
        yield


def become(command: Sequence[str], log: Path) -> NoReturn:
    """Replaces this process with another program that writes to a log, as nobody reads what it prints any more."""
    with suppress(OSError), log.open("a") as output:  # on a full disk it may not be there
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
    os.execv(command[0], list(command))


def run_in_foreground(command: Sequence[str]) -> int:
    """Runs a command on this terminal and waits for it, passing SIGTERM and SIGHUP on.

    Ctrl-C reaches the command by itself, as it shares the terminal; here it only must not end the waiting.

    Returns:
        Its exit code; 128 + n if signal n ended it, as a shell would say; 127 if there is no such command.
    """
    try:
        child = subprocess.Popen(command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}; check the command after --", file=sys.stderr)
        return COMMAND_NOT_FOUND

    def pass_on(number: int, frame: FrameType | None) -> None:
        child.send_signal(number)

    with handling({signal.SIGTERM: pass_on, signal.SIGHUP: pass_on, signal.SIGINT: lambda *_: None}):
        code = child.wait()
    return SIGNALLED - code if code < 0 else code


Handler = Callable[[int, FrameType | None], object]


@contextmanager
def handling(handlers: Mapping[signal.Signals, Handler]) -> Iterator[None]:
    """Handles signals differently for a while."""
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
