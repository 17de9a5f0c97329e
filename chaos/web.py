"""The few HTTP requests of a rehearsal that are no load: asked once, answered or not."""

import json
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

TIMEOUT_S = 2.0
POST_TIMEOUT_S = 60.0
# The fleet is on this machine, whatever proxies the environment names.
_OPEN = build_opener(ProxyHandler({})).open


def get_json(url: str) -> dict[str, Any]:
    """The JSON document at a URL; empty if nobody answers with one."""
    try:
        with _OPEN(url, timeout=TIMEOUT_S) as answer:
            document = json.load(answer)
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def post(url: str, body: bytes) -> tuple[int, str]:
    """Sends a picture; returns the status, 0 for none, and the problem's code."""
    try:
        with _OPEN(Request(url, body), timeout=POST_TIMEOUT_S) as answer:
            return int(answer.status), ""
    except HTTPError as error:
        return error.code, str(json.loads(error.read() or b"{}").get("code", ""))
    except (OSError, ValueError):
        return 0, ""
