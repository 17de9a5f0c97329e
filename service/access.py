"""Lets in who brings a key, where the instance has a file of them; without one everybody is let in."""

import base64
import binascii
import re
import socket
from pathlib import Path

from flask import Flask, Response, g, request

from framefleet.http.address import is_ip_address
from service.errors import NoKey, UnknownHost, WrongScope
from service.keys import KeyRing

# Health answers say nothing worth hiding, and the pages detect nothing by themselves.
OPEN = ("/", "/livez", "/readyz", "/docs", "/docs.css", "/openapi.json", "/v2", "/v2/health/live", "/v2/health/ready")
OPEN_BELOW = "/static/"
# Who asks from this machine is nginx, which lets operators alone through, or somebody who can read our files anyway.
FIGURES = ("/status", "/metrics", "/fleet")
# The last is the first as an IPv6 socket sees it.
THIS_MACHINE = ("127.0.0.1", "::1", "::ffff:127.0.0.1")
# The same rules as in deploy/nginx/snippets/limit-zones.conf.j2, which counts by the key: what it cannot read is none.
BLANK = "[ \\t]"
SECRET = re.compile(rf"{BLANK}*([!-~]{{1,255}}){BLANK}*")
AUTHORIZATION = re.compile(rf"{BLANK}*(bearer|basic)(?:{BLANK}+(.*))?", re.IGNORECASE)
# With it nginx asks about the key alone, before it reads a body.
KEY_CHECK = "X-Key-Check"
# The key that is the password of Basic authorization, which nginx cannot read.
KEY = "X-Key"
# What it then passes on to the client.
REFUSAL, REFUSAL_KIND = "X-Refusal", "X-Refusal-Kind"
KEY_FITS = 204


def require_known_host(app: Flask) -> None:
    """Refuses to give figures to who asks for them by a name that is not this machine's.

    A web page can have its own name lead here, and its script then reads what the browser's user may ("DNS rebinding").
    nginx asks by address, after it has looked itself.
    """
    own = socket.gethostname().lower()

    @app.before_request
    def check_host() -> None:
        if request.path not in FIGURES:
            return
        name = request.host.rpartition(":")[0] if ":" in request.host.rpartition("]")[2] else request.host
        name = name.lower().strip("[]")
        if not (is_ip_address(name) or name in ("localhost", own, own.partition(".")[0])):
            raise UnknownHost("Host: figures are not given out by this name; ask by the machine's address")


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
    ring = KeyRing(Path(path)) if path else None

    @app.before_request
    def check() -> Response | None:
        scope = _scope(nginx_alone) if ring else ""
        secret = _open(ring, scope) if ring and scope else ""
        # While keys are switched on or off, nginx also asks instances that want none.
        if KEY_CHECK not in request.headers:
            return None
        g.asked_twice = True  # it is counted and logged when it comes with its body
        return Response(status=KEY_FITS, headers={KEY: secret} if _is_basic() else None)

    @app.after_request
    def tell_nginx(answer: Response) -> Response:
        if KEY_CHECK in request.headers and answer.status_code != KEY_FITS:
            answer.headers[REFUSAL] = answer.get_data(as_text=True)
            answer.headers[REFUSAL_KIND] = "json" if answer.mimetype == "application/json" else "problem"
        return answer


def _open(ring: KeyRing, scope: str) -> str:
    """The request's key, which may do this."""
    secret = _secret()
    key = ring.find(secret) if secret else None
    if key is None:
        what = "not one of this service's" if secret else "missing"
        raise NoKey(f"key: {what}; send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`")
    if scope not in key.scopes:
        raise WrongScope(f"key: {key.name} may not {scope}; ask for a key that may")
    g.key = key.name
    return secret


def _scope(nginx_alone: bool) -> str:
    if request.path in OPEN or request.path.startswith(OPEN_BELOW):
        return ""
    if request.path in FIGURES:
        return "" if nginx_alone or request.remote_addr in THIS_MACHINE else "operate"
    return "detect"


def _is_basic() -> bool:
    given = AUTHORIZATION.fullmatch(request.headers.get("Authorization", ""))
    return given is not None and given[1].lower() == "basic"


def _secret() -> str:
    given = AUTHORIZATION.fullmatch(request.headers.get("Authorization", ""))
    if given and given[1].lower() == "basic":
        sent = _password((given[2] or "").strip(" \t"))
    else:
        sent = (given[2] or "") if given else request.headers.get("X-API-Key", "")
    key = SECRET.fullmatch(sent)
    return key[1] if key else ""


def _password(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""
