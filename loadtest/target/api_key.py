"""The API key that the load generator sends, from the environment: everybody on a machine can read command lines."""

import os
from collections.abc import Mapping

from framefleet.http.api_key import BadKeyError, given_key
from loadtest.errors import OptionError


def own_key(environ: Mapping[str, str] = os.environ) -> str:
    """The key; empty if there is none.

    Raises:
        OptionError: no request can bring it.
    """
    try:
        return given_key(environ)
    except BadKeyError as error:
        raise OptionError(str(error)) from None


def key_header(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What a request that brings the key has in its head; nothing if there is none."""
    key = own_key(environ)
    return {"Authorization": f"Bearer {key}"} if key else {}
