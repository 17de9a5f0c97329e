"""The API key that this machine's own tools ask with, where instances let in nobody without one."""

from collections.abc import Mapping

from deploy.errors import Problem, SettingsError
from deploy.fleet import Fleet
from framefleet.http.address import KEY_VARIABLE
from framefleet.http.api_key import BadKeyError, cleaned_key, given_key
from framefleet.text_file import NotText, read_text


def own_key(fleet: Fleet, environ: Mapping[str, str]) -> str:
    """Finds the key: the caller's, else that of the file that the fleet names; empty if there is none.

    Raises:
        SettingsError: the file cannot be read, or what it holds is no key.
    """
    try:
        key = given_key(environ)
        if key or not fleet.own_key:
            return key
        return cleaned_key(read_text(fleet.own_key), f"keys.own: {fleet.own_key}")
    except BadKeyError as error:
        raise SettingsError(Problem(error.where, error.what, error.fix)) from None
    except (OSError, NotText) as error:
        reason = getattr(error, "strerror", None) or "not text"
        fix = f"run this as root, or set {KEY_VARIABLE}"
        raise SettingsError(Problem(f"keys.own: {fleet.own_key}", reason, fix)) from None


def headers(key: str) -> dict[str, str]:
    """What a request that brings the key has in its head."""
    return {"Authorization": f"Bearer {key}"} if key else {}
