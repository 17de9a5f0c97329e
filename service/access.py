"""Lets in who brings a key, where the instance has a file of them; without one everybody is let in."""

import base64
import binascii
from pathlib import Path

from flask import Flask, g, request

from service.errors import NoKey, WrongScope
from service.keys import KeyRing

# Health answers say nothing worth hiding, and the pages detect nothing by themselves.
OPEN = ("/", "/livez", "/readyz", "/docs", "/docs.css", "/openapi.json", "/v2", "/v2/health/live", "/v2/health/ready")
OPEN_BELOW = "/static/"
# Who asks from this machine is nginx, which lets operators alone through, or somebody who can read our files anyway.
FIGURES = ("/status", "/metrics", "/fleet")
# The last is the first as an IPv6 socket sees it.
THIS_MACHINE = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


def require_keys(app: Flask, path: str, *, nginx_alone: bool = False) -> None:
    """Refuses requests without a key of the right scope.

    A key comes as `Authorization: Bearer KEY`, as `X-API-Key: KEY`, or as the password of Basic authorization, which is
    how clients that take nothing but an address send what stands in it before the @.

    Args:
        app: the application.
        path: of the file of keys; empty lets everybody in.
        nginx_alone: True if nobody but nginx can connect from elsewhere.

    Raises:
        StartError: the file cannot be used.
    """
    if not path:
        return
    ring = KeyRing(Path(path))

    @app.before_request
    def check() -> None:
        scope = _scope(nginx_alone)
        if not scope:
            return
        secret = _secret()
        key = ring.find(secret) if secret else None
        if key is None:
            what = "not one of this service's" if secret else "missing"
            raise NoKey(f"key: {what}; send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`")
        if scope not in key.scopes:
            raise WrongScope(f"key: {key.name} may not {scope}; ask for a key that may")
        g.key = key.name


def _scope(nginx_alone: bool) -> str:
    if request.path in OPEN or request.path.startswith(OPEN_BELOW):
        return ""
    if request.path in FIGURES:
        return "" if nginx_alone or request.remote_addr in THIS_MACHINE else "operate"
    return "detect"


def _secret() -> str:
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    match kind.lower():
        case "bearer":
            return value.strip()
        case "basic":
            return _password(value)
    return request.headers.get("X-API-Key", "")


def _password(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""
