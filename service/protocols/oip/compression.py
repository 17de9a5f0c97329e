"""Undoes the compression of a request body, piece by piece, and never further than a body may be long."""

import zlib
from collections.abc import Callable, Iterator

from service.errors import BodyTooLarge, MalformedBody, UnsupportedBody

# What zlib is told about the container; HTTP's "deflate" is zlib's own.
PIECE_BYTES = 2**18
WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def inflater(encoding: str, limit: int) -> Callable[[bytes], Iterator[bytes]] | None:
    """Makes what undoes a compression.

    Args:
        encoding: the header `Content-Encoding`, empty where there is none.
        limit: bytes at most, once decompressed.

    Returns:
        A function of one piece after the other, and of b"" behind the last one, which gives pieces too: else the
        largest body would be there twice. None without compression. It raises MalformedBody: damaged, cut off, or
        followed by something else; BodyTooLarge: it holds more than `limit` bytes.

    Raises:
        UnsupportedBody: another compression than gzip or deflate.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return None
    if name not in WINDOW_BITS:
        raise UnsupportedBody(f"Content-Encoding: {name[:40]!r} is not known; send gzip, deflate or no compression")
    stream = zlib.decompressobj(WINDOW_BITS[name])
    left = limit

    def inflate(piece: bytes) -> Iterator[bytes]:
        nonlocal left
        rest, full = piece, False
        while rest or full:
            try:
                data = stream.decompress(rest, PIECE_BYTES)
            except zlib.error as error:
                raise MalformedBody(f"body: not readable as {name} ({error}); send it whole, or uncompressed") from None
            left -= len(data)
            if left < 0:
                raise BodyTooLarge(f"body: over the limit of {limit} bytes once decompressed; send less at once")
            yield data
            rest, full = stream.unconsumed_tail, len(data) == PIECE_BYTES
        if stream.unused_data or not (piece or stream.eof):
            raise MalformedBody(f"body: its {name} data breaks off or goes on after its end; send it whole")

    return inflate
