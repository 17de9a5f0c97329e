"""Commands of this machine: how one is run, what comes of it, and where nginx is."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

NGINX_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/usr/local/nginx/sbin", "/opt/nginx/sbin")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended: its exit `code` and its `output`, both streams together."""

    code: int
    output: str


Runner = Callable[[Sequence[str]], Outcome]


def find_nginx(search_path: str) -> Path | None:
    """Looks for the nginx binary on a PATH and, as sbin is often missing from that, in the usual places."""
    for folder in (*search_path.split(":"), *NGINX_FOLDERS):
        candidate = Path(folder) / "nginx"
        if folder and os.path.isfile(candidate):  # False, too, in a folder that this user may not enter
            return candidate
    return None
