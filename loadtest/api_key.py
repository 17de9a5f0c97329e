"""The API key that the load generator sends, from the environment: everybody on a machine can read command lines."""

import os
from collections.abc import Mapping

from framefleet.address import KEY_VARIABLE as VARIABLE


def key_header(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What a request that brings the key has in its head; nothing if there is none."""
    key = environ.get(VARIABLE, "")
    return {"Authorization": f"Bearer {key}"} if key else {}
