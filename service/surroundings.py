"""Looks, before a model is loaded, at what the settings point to on this machine: an address, files, folders."""

import os
from pathlib import Path

from framefleet.failure import explain_os_error
from framefleet.machine.listening import try_to_listen
from service.errors import StartError
from service.host import in_address
from service.keys import BadKeyFile, read_keys
from service.log import log_event
from service.settings import Settings


def check_surroundings(settings: Settings) -> None:
    """Checks what can be told before the start.

    A port that is taken is none of it: an instance that is being replaced may leave it yet.

    Raises:
        StartError: names every setting that points to what is not there, or cannot be used.
    """
    if problems := surrounding_problems(settings):
        raise StartError("; ".join(problems))
    if reason := _unwritable(Path(settings.cache)):  # it is only slower without
        log_event("cache_not_used", instance=settings.instance, reason=f"FRAMEFLEET_CACHE: {reason}")


def surrounding_problems(settings: Settings) -> tuple[str, ...]:
    """Lists every setting that points to what is not there, or cannot be used, by its variable."""
    found = (_address(settings), _keys(settings), _plugin(settings), _quarantine(settings))
    return tuple(problem for problem in found if problem)


def why_not_listening(settings: Settings) -> str:
    """Says why the instance's address could not be had, with what to do about it."""
    refusal = try_to_listen(settings.host, settings.port)
    if refusal is None or refusal.reason == "taken":
        return f"{in_address(settings.host, settings.port)} is taken; free it or set FRAMEFLEET_PORT"
    return f"{'FRAMEFLEET_PORT' if refusal.reason == 'forbidden' else 'FRAMEFLEET_HOST'}: {refusal.what}; {refusal.fix}"


def _address(settings: Settings) -> str:
    refusal = try_to_listen(settings.host, settings.port)
    return why_not_listening(settings) if refusal and refusal.reason != "taken" else ""


def _keys(settings: Settings) -> str:
    try:
        if settings.keys and not read_keys(Path(settings.keys)):
            what = f"FRAMEFLEET_KEYS: {settings.keys} holds no key: nobody is let in until `make key` adds one"
            log_event("no_keys", instance=settings.instance, reason=what)
    except BadKeyFile as error:
        return f"FRAMEFLEET_KEYS: {error}"
    return ""


def _plugin(settings: Settings) -> str:
    missing = settings.plugin and not Path(settings.plugin).is_file()
    return f"FRAMEFLEET_PLUGIN: {settings.plugin} is no file; name the shared library, or unset it" if missing else ""


def _quarantine(settings: Settings) -> str:
    reason = _unwritable(Path(settings.quarantine)) if settings.quarantine else ""
    return f"FRAMEFLEET_QUARANTINE: {reason}; name a folder that this user may write" if reason else ""


def _unwritable(folder: Path) -> str:
    """Why no file can be written in a folder that is there, or can be made; empty if it can."""
    try:
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    except OSError as error:
        return explain_os_error(error)
    if not there.is_dir():
        return f"{there} is a file"
    return "" if os.access(there, os.W_OK | os.X_OK) else f"{there} cannot be written"
