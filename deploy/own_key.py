"""The API key that this machine's own tools ask with, where instances let in nobody without one."""

from collections.abc import Mapping

from deploy.errors import Problem, SettingsError
from deploy.fleet import Fleet
from framefleet.text_file import NotText, read_text

# In the environment, where other users do not see it, as they would in a command line. No name of the service's.
VARIABLE = "FLEET_API_KEY"


def own_key(fleet: Fleet, environ: Mapping[str, str]) -> str:
    """Finds the key: the caller's, else that of the file that the fleet names; empty if there is none.

    Raises:
        SettingsError: the file cannot be read.
    """
    key = environ.get(VARIABLE, "")
    if key or not fleet.own_key:
        return key
    try:
        return read_text(fleet.own_key).strip()
    except (OSError, NotText) as error:
        reason = getattr(error, "strerror", None) or "not text"
        fix = f"run this as root, or set {VARIABLE}"
        raise SettingsError(Problem(f"keys.own: {fleet.own_key}", reason, fix)) from None


def headers(key: str) -> dict[str, str]:
    """What a request that brings the key has in its head."""
    return {"Authorization": f"Bearer {key}"} if key else {}
