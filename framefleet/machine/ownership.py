"""Finds out whose a file is, and says how somebody else may come to use it."""

import os
import pwd
import shlex
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def user_name(uid: int) -> str:
    """A user's name; the number where this machine knows none, as in a container."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def chown_command(folder: Path, uid: int) -> str:
    """The command, ready to be pasted by root, that gives a file or folder with all in it to a user."""
    # Its group too, where there is a name: chown knows no group of a number, and refuses the colon.
    account = _account(uid)
    return f"chown -R {f'{account}:' if account else uid} {shlex.quote(str(folder))}"


def run_as(uid: int) -> str:
    """What stands before a command that a user is to run."""
    return "sudo" if uid == 0 else f"sudo -u {_account(uid) or shlex.quote(f'#{uid}')}"


def _account(uid: int) -> str:
    try:
        return shlex.quote(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return ""


def why_denied(path: Path) -> str:
    """Says whose the file or folder is that was in the way of an access, and what to do.

    Args:
        path: what could not be used. It need not exist: then the folder it should be in is in the way.
    """
    path = Path(os.path.abspath(path))
    culprit = _culprit(path)
    if os.geteuid() == 0:
        return f"not even root may: see how the drive of {culprit} is mounted, and what `lsattr -d` says of it"
    owner, me = os.lstat(culprit).st_uid, os.geteuid()
    if owner == me:
        return f"{culprit} is yours, but its mode forbids it: chmod -R u+rwX {shlex.quote(str(culprit))}"
    whose = f"{culprit} belongs to {user_name(owner)}, and you are {user_name(me)}"
    given = _to_give(culprit)
    if given is None:
        return f"{whose}: run this as {user_name(owner)} ({run_as(owner)} ...), or choose a file or folder of your own"
    return f"{whose}: sudo {chown_command(given, me)}, or choose a folder of your own"


def _culprit(path: Path) -> Path:
    """What refuses: a folder on the way that may not be entered, else the path, else the folder it is to be in."""
    for folder in reversed(path.parents):
        if not os.access(folder, os.X_OK, effective_ids=True):
            # One that is missing is its own folder's matter.
            return folder if os.path.lexists(folder) else folder.parent
    if os.path.lexists(path) and not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        return path
    return path.parent


def _to_give(culprit: Path) -> Path | None:
    """What to hand over as a whole, so that the next file in it is no next failure; None for others' own places."""
    if culprit == CHECKOUT:
        return culprit
    for top in (CHECKOUT, Path.cwd()):
        # Not a system folder such as /etc, where somebody happens to stand.
        mine = top == CHECKOUT or top.stat().st_uid == os.geteuid()
        if mine and top in culprit.parents:
            return top / culprit.relative_to(top).parts[0]
    return None
