"""Looks whether a fleet in some folder is another user's, running or left behind; changes nothing."""

import os
import shlex
import stat
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from deploy.errors import ControlError, Problem
from deploy.machine.processes import PROC, fleet_processes
from deploy.machine.run_files import OTHERS_MAY_WRITE, opened_folder
from deploy.paths import Paths, local_paths
from framefleet.machine.ownership import CHECKOUT, chown_command, run_as, user_name

# Enough to say that there are more; a folder of request bodies may hold thousands.
MAX_LOOKED_AT = 1000


def refuse_strangers(paths: Paths) -> None:
    """Makes sure that this user may work on the fleet in a folder.

    Raises:
        ControlError: another user's fleet runs there, or their files are in the way; says whose, and the way out.
    """
    if os.geteuid() == 0:  # may stop anybody's
        return
    if problem := running_stranger(paths) or next(left_behind(paths), None):
        raise ControlError(problem)


def running_stranger(paths: Paths, proc: Path = PROC) -> Problem | None:
    """Says whose fleet runs in a folder, if it is not this user's."""
    me = os.geteuid()
    for process in fleet_processes(paths, proc):
        try:
            owner = (proc / str(process.pid)).stat().st_uid
        except OSError:  # it has ended
            continue
        if process.kind == "supervisord" and owner != me:
            who = user_name(owner)
            what = f"a fleet of {who} runs here (supervisord, pid {process.pid}), and you are {user_name(me)}"
            if paths != local_paths(paths.state):  # a host's, which is no matter of whose folders
                return Problem("supervisord", what, "ask as root: put `sudo` in front")
            as_owner = f"{run_as(owner)} make"
            take_over = f"`{as_owner} down`, then `{_give(paths, me)}`"
            return Problem(str(paths.state), what, f"ask as {who} (`{as_owner} status`); to take it over: {take_over}")
    return None


def left_behind(paths: Paths) -> Iterator[Problem]:
    """Finds files that another user's fleet left, and this user may not replace."""
    inside = (paths.etc, paths.etc_new, paths.etc_previous, paths.stage, paths.tmp)
    for folder in (paths.state, paths.run, paths.log, *inside):
        for path in islice(_with_its_files(folder), MAX_LOOKED_AT):
            if (owner := path.lstat().st_uid) != os.geteuid() and not os.access(path, os.W_OK, follow_symlinks=False):
                what = f"belongs to {user_name(owner)}, and you are {user_name(os.geteuid())}"
                fix = f"`{_give(paths, os.geteuid())}`, or name a folder of your own (VAR=)"
                yield Problem(str(path), what, fix)
                return


def in_roots_way(paths: Paths) -> Iterator[Problem]:
    """Finds what would let another user choose what a fleet of root reads and writes; nothing for other users.

    The owner of the code that runs is no stranger: what they want root to do, they write there.
    """
    if os.geteuid() != 0:
        return
    trusted = _owners_of_the_code()
    for folder in (paths.state, *paths.state.parents):
        if os.path.lexists(folder) and (owner := folder.lstat().st_uid) not in trusted:
            what = f"belongs to {user_name(owner)}, who could choose what root runs from there"
            yield Problem(str(folder), what, f"use `{run_as(owner)} make`, or name a folder of root's own (VAR=)")
        elif os.path.lexists(folder) and _others_may_swap(folder, of_the_fleet=folder == paths.state):
            yield _open_to_others(folder)
    for folder in (paths.etc, paths.run, paths.log, paths.tmp):
        for path in _with_its_files(folder):
            found = path.lstat()
            if path == folder and found.st_uid != 0:
                what = f"belongs to {user_name(found.st_uid)}, and you are root"
                yield Problem(str(path), what, f"`{_give(paths, 0)}`, or name a folder of root's own (VAR=)")
            elif stat.S_ISDIR(found.st_mode) and _others_may_write(found):
                yield _open_to_others(path)
            elif why := _leads_elsewhere(found):
                yield Problem(str(path), f"{why}, which root does not write through", f"rm {shlex.quote(str(path))}")


def resolved(var: Path) -> Path:
    """A fleet's folder with links resolved.

    Raises:
        ControlError: for root, of a link that another user may have put there: it could lead to any folder.
    """
    if os.geteuid() == 0 and _owners_of_the_code() == {0}:
        with suppress(OSError), opened_folder(var):
            pass
    return var.resolve()


def _owners_of_the_code() -> set[int]:
    return {0, *(folder.stat().st_uid for folder in (CHECKOUT, *CHECKOUT.parents))}


def _others_may_swap(folder: Path, *, of_the_fleet: bool) -> bool:
    """Whether others may put something else in the place of what root has there."""
    found = folder.stat()
    if not of_the_fleet and (found.st_mode & stat.S_ISVTX or folder in (CHECKOUT, *CHECKOUT.parents)):
        return False  # in a sticky one not what is root's, and on the way to the code they may do as they like anyway
    return _others_may_write(found)


def _others_may_write(found: os.stat_result) -> bool:
    """Whether somebody may who may not write the code; on some drives everybody may write all."""
    code = CHECKOUT.stat()
    groups = {0, code.st_gid} if code.st_mode & stat.S_IWGRP else {0}
    others = stat.S_IWOTH if found.st_gid in groups else OTHERS_MAY_WRITE
    return bool(found.st_mode & others & ~(code.st_mode & stat.S_IWOTH))


def _open_to_others(folder: Path) -> Problem:
    what = f"may be written by others (mode {stat.S_IMODE(folder.stat().st_mode):o}), who could choose what root runs"
    return Problem(str(folder), what, f"chmod go-w {shlex.quote(str(folder))}, or name a folder of root's own (VAR=)")


def _leads_elsewhere(found: os.stat_result) -> str:
    if stat.S_ISREG(found.st_mode):
        return "has another name elsewhere" if found.st_nlink > 1 else ""
    return "" if stat.S_ISDIR(found.st_mode) or stat.S_ISSOCK(found.st_mode) else "is a link or a fifo"


def note_of_root(paths: Paths) -> str:
    """What root should know before it writes into another user's folder; empty if it does not."""
    there = next(path for path in (paths.state, *paths.state.parents) if path.exists())
    owner = there.stat().st_uid
    if os.geteuid() != 0 or owner == 0:
        return ""
    who = user_name(owner)
    fix = f"when it is down: `{chown_command(paths.state, owner)}`"
    return f"note: {there} belongs to {who}, who cannot use what root leaves in it; {fix}"


def _give(paths: Paths, uid: int) -> str:
    command = chown_command(paths.state, uid)
    return command if os.geteuid() == 0 else f"sudo {command}"


def _with_its_files(folder: Path) -> Iterator[Path]:
    """A folder, what is in it, and what is in the folders below it; nothing if it is not there."""
    if not os.path.lexists(folder):
        return
    yield folder
    if folder.is_dir() and not folder.is_symlink():
        yield from folder.rglob("*")
