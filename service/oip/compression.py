"""Undoes the compression of a request body, never further than a body may be long."""

import zlib

from service.errors import BodyTooLarge, MalformedBody, UnsupportedBody

# What zlib is told about the container; HTTP's "deflate" is zlib's own.
WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def decompressed(body: bytes, encoding: str, limit: int) -> bytes:
    """Decompresses a body.

    Args:
        body: as it was sent.
        encoding: the header `Content-Encoding`, empty where there is none.
        limit: bytes at most, once decompressed.

    Raises:
        UnsupportedBody: another compression than gzip or deflate.
        MalformedBody: damaged, cut off, or followed by something else.
        BodyTooLarge: it holds more than `limit` bytes.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    if name not in WINDOW_BITS:
        raise UnsupportedBody(f"Content-Encoding: {name[:40]!r} is not known; send gzip, deflate or no compression")
    inflater = zlib.decompressobj(WINDOW_BITS[name])
    try:
        data = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise MalformedBody(f"body: not readable as {name} ({error}); send it whole, or uncompressed") from None
    if len(data) > limit:
        raise BodyTooLarge(f"body: over the limit of {limit} bytes once decompressed; send less at once")
    if not inflater.eof or inflater.unused_data:
        raise MalformedBody(f"body: its {name} data breaks off or goes on after its end; send it whole")
    return data
