"""Opens, writes and removes files where somebody else may write too, such as in /run/framefleet, the service user's.

Whoever may write to a folder chooses what stands there under any name: a link to a file of root's, another name of one,
a fifo that nobody ever reads. Nothing here, run by root, follows a link that another user may have put there, waits for
a fifo, or touches a file of somebody else that has another name. For other users the kernel's own rules are enough.
"""

import errno
import os
import secrets
import socket
import stat
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from deploy.errors import ControlError, Problem

# More than any small state file of ours: who may write one must not fill root's memory.
MAX_STATE_BYTES = 2**20
# So that nothing of the kernel's waits, and no folder is taken for a file or the other way round.
CAREFULLY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
MAX_LINKS = 40
OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


@contextmanager
def opened_folder(folder: Path, *, make: bool = False) -> Iterator[int]:
    """Opens a folder; the descriptor goes on naming that folder, whatever is put in its place meanwhile.

    Args:
        folder: absolute, or relative to where this process stands.
        make: True to make it, and those above it, as far as they are missing.

    Raises:
        ControlError: a link on the way that another user may have put there.
        OSError: it is missing, or no folder.
    """
    descriptor = _walk(folder.absolute(), make)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _walk(folder: Path, make: bool) -> int:
    if os.geteuid() != 0:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder, FOLDER)
    left, links, here = list(reversed(folder.parts[1:])), 0, os.open("/", FOLDER)
    while left:
        name = left.pop()
        try:
            if target := _trusted_link(here, name):
                links += 1
                if links > MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                left += reversed([part for part in Path(target).parts if part != "/"])
                below = os.open("/", FOLDER) if target.startswith("/") else os.dup(here)
            else:
                below = _enter(here, name, make)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(folder)) from None
        finally:
            os.close(here)
        here = below
    return here


def _enter(here: int, name: str, make: bool) -> int:
    with suppress(FileNotFoundError):
        return os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=here)
    if make:
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=here)
    return os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=here)


def _trusted_link(here: int, name: str) -> str:
    """Where a link leads; empty for what is none.

    Raises:
        ControlError: another user than root may have put it there.
    """
    try:
        found = os.stat(name, dir_fd=here, follow_symlinks=False)
    except FileNotFoundError:
        return ""
    if not stat.S_ISLNK(found.st_mode):
        return ""
    if found.st_uid != 0 or not _is_roots(os.fstat(here)):
        raise ControlError(_odd(Path(os.readlink(f"/proc/self/fd/{here}"), name), "is a link"))
    return os.readlink(name, dir_fd=here)


def _is_roots(folder: os.stat_result) -> bool:
    """True if nobody but root can have put into a folder what is there."""
    return folder.st_uid == 0 and not folder.st_mode & OTHERS_MAY_WRITE


def _open(path: Path, flags: int, mode: int = 0o666) -> int:
    """Opens a regular file.

    Raises:
        ControlError: it is something else that another user may have put there.
    """
    with opened_folder(path.parent) as parent:
        checked = os.geteuid() == 0
        if checked and _trusted_link(parent, path.name):
            checked = False
        careful = CAREFULLY if checked else os.O_CLOEXEC
        try:
            descriptor = os.open(path.name, flags | careful, mode, dir_fd=parent)
        except OSError as error:
            if checked and error.errno in (errno.ELOOP, errno.ENXIO):
                raise ControlError(_odd(path, "is a link" if error.errno == errno.ELOOP else "is a fifo")) from None
            raise OSError(error.errno, error.strerror, str(path)) from None
        if checked and (what := _what_is_odd(os.fstat(descriptor), os.fstat(parent))):
            os.close(descriptor)
            raise ControlError(_odd(path, what))
        return descriptor


def _what_is_odd(file: os.stat_result, folder: os.stat_result) -> str:
    if not stat.S_ISREG(file.st_mode):
        return "is no file"
    # Where the kernel does not forbid it (fs.protected_hardlinks), a user may give others' files a second name.
    their_own = file.st_uid == folder.st_uid != 0
    second = file.st_nlink > 1 and not their_own and not _is_roots(folder)
    return "has another name elsewhere" if second else ""


def _odd(path: Path, what: str) -> Problem:
    fix = f"look what it is and who put it there (ls -l), then remove it: rm -r {path}"
    return Problem(str(path), f"{what}, and another user than root may have put it there", fix)


def open_to_read(path: Path) -> IO[bytes]:
    """Opens a file that may be as long as its writer likes.

    Raises:
        ControlError: see the module.
        FileNotFoundError: there is none.
    """
    return open(_open(path, os.O_RDONLY), "rb")


def read_state(path: Path) -> str:
    """Reads a small state file; empty if there is none.

    Raises:
        ControlError: see the module.
    """
    try:
        with open_to_read(path) as file:
            return file.read(MAX_STATE_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return ""


def open_to_append(path: Path, mode: int = 0o644) -> IO[str]:
    """Opens a file to read it and add to its end; makes it if there is none.

    Raises:
        ControlError: see the module.
    """
    return open(_open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, mode), "a+")


def write_text(path: Path, text: str, mode: int | None = None, *, durable: bool = False) -> None:
    """Replaces a small file; who reads it meanwhile sees the old or the new one, never half of it.

    Args:
        path: the file; its folder exists.
        text: what it holds from now on.
        mode: permission bits; None leaves them to the umask.
        durable: True if a power cut must leave the old or the new file.
    """
    with opened_folder(path.parent) as parent:
        # A name that nobody can foresee, and O_EXCL: what is opened is new.
        scratch = f".{path.name}.{secrets.token_hex(8)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | CAREFULLY
        descriptor = os.open(scratch, flags, 0o666 if mode is None else mode, dir_fd=parent)
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                if mode is not None:
                    os.fchmod(descriptor, mode)
                file.write(text)
                file.flush()
                if durable:
                    os.fsync(descriptor)
            os.replace(scratch, path.name, src_dir_fd=parent, dst_dir_fd=parent)
        except BaseException as error:
            with suppress(OSError):
                os.unlink(scratch, dir_fd=parent)
            if isinstance(error, IsADirectoryError):
                raise ControlError(Problem(str(path), "is a folder", f"remove it: rm -r {path}")) from None
            raise
        if durable:
            os.fsync(parent)


def remove(*leftovers: Path) -> None:
    """Removes files or folders, as far as they exist; of a link the link.

    Raises:
        ControlError: a folder cannot be removed, or see the module.
    """
    for path in leftovers:
        with suppress(FileNotFoundError), opened_folder(path.parent) as parent:
            try:
                os.unlink(path.name, dir_fd=parent)
            except IsADirectoryError:
                _whole_tree(("rm", "-rf", "--", path.name), parent, path)


def make_folder(folder: Path) -> None:
    """Makes a folder, and those above it, as far as they are missing.

    Raises:
        ControlError: see the module.
    """
    with opened_folder(folder, make=True):
        pass


def give(folder: Path, uid: int, gid: int, mode: int) -> None:
    """Makes a folder, and gives it the owner and mode it should have.

    Raises:
        ControlError: see the module.
    """
    with opened_folder(folder, make=True) as descriptor:
        found = os.fstat(descriptor)
        if (found.st_uid, found.st_gid) != (uid, gid):
            os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, mode)


def take_over(folder: Path) -> None:
    """Gives a folder, with all in it that is its owner's, to whoever runs this: that owner is about to be removed."""
    with suppress(FileNotFoundError), opened_folder(folder) as top:
        # Others' files may be there by a second name that their owner knows nothing of.
        theirs = f"--from={os.fstat(top).st_uid}"
        os.fchown(top, os.geteuid(), os.getegid())
        _whole_tree(("chown", "-RPh", theirs, f"{os.geteuid()}:{os.getegid()}", "."), top, folder)


def _whole_tree(command: Sequence[str], inside: int, path: Path) -> None:
    """Does something to all below a folder; Python's own ways end where folders are nested a thousand deep.

    Raises:
        ControlError: it could not.
    """
    done = subprocess.run(command, cwd=f"/proc/self/fd/{inside}", capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise ControlError(Problem(str(path), last, f"look what is there, then remove it: rm -r {path}"))


def connect(client: socket.socket, path: Path) -> None:
    """Connects to a socket that has a name, which root does only if nobody put a link to another one in its place.

    Raises:
        ControlError: somebody did.
        OSError: nobody listens there.
    """
    if os.geteuid() != 0:
        client.connect(str(path))
        return
    with opened_folder(path.parent) as parent:
        if _trusted_link(parent, path.name):
            client.connect(str(path))
            return
        there = os.open(path.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            client.connect(f"/proc/self/fd/{there}")
        finally:
            os.close(there)
