"""Asks an address whether it answers one picture, as cameras' snapshot addresses do: address -> JPEG or PNG bytes."""

from contextlib import suppress
from urllib.parse import urlsplit

import requests

from framefleet.http.session import open_session

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")
_PICTURE_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")  # many cameras name no type, or a wrong one
_LIMITS_S = (3.05, 10.0)  # to connect, and between two pieces of an answer
_MAX_BYTES = 64 * 2**20  # a stream of pictures under one picture's type never ends
_PIECE_BYTES = 65_536


def snapshot(address: str) -> bytes | None:
    """What came of the picture behind an address; None where it answers a video, a stream, nothing, or asks who we are.

    Args:
        address: http:// or https://, with a camera's name and password if it needs them.
    """
    with open_session() as session:
        try:
            with session.get(address, stream=True, timeout=_LIMITS_S) as answer:
                return _picture(answer, address) if answer.ok else None
        except (requests.RequestException, OSError, ValueError):
            return None  # FFmpeg knows more protocols and log-ins than we do, and its failure is reported


def _picture(answer: requests.Response, address: str) -> bytes | None:
    kind = answer.headers.get("Content-Type", "").lower().partition(";")[0].strip()
    if kind.startswith(("multipart/", "video/")):
        return None
    is_named = kind.startswith("image/") or urlsplit(address).path.lower().endswith(PICTURE_SUFFIXES)
    if not is_named and "Content-Length" not in answer.headers:  # a stream may begin like a picture
        return None
    body = bytearray()
    with suppress(requests.RequestException):  # one that breaks off is a damaged picture, not a stream
        for piece in answer.iter_content(_PIECE_BYTES):
            body += piece
            if len(body) > _MAX_BYTES or not (is_named or body.startswith(_PICTURE_STARTS)):
                return None
    return bytes(body) if is_named or body else None
