"""Finds where the data of a JPEG's scan ends."""

import numpy as np

from service.errors import MalformedBody

# Of them, whatever their bytes, little else is held; other threads have their turn meanwhile.
_SEARCHED_BYTES = 2**16
_MARKER = 0xFF
# Behind a marker's first byte these belong to the data: a stuffed zero, restarts, and another first byte.
_ENDS = np.ones(256, np.bool_)
_ENDS[[0, *range(0xD0, 0xD8), _MARKER]] = False


def end_of_data(body: bytes | memoryview, begin: int) -> int:
    """Where the first marker stands that is no part of the data which begins there.

    Raises:
        MalformedBody: there is none.
    """
    values = np.frombuffer(body, np.uint8)
    for at in range(begin, len(values) - 1, _SEARCHED_BYTES):
        firsts, seconds = values[at : at + _SEARCHED_BYTES], values[at + 1 : at + 1 + _SEARCHED_BYTES]
        markers = firsts[: len(seconds)] == _MARKER
        markers &= seconds != 0
        places = markers.nonzero()[0]
        ends = places[_ENDS[seconds[places]]]
        if ends.size:
            return at + int(ends[0])
    raise MalformedBody("image: the JPEG ends before its end marker; send a whole JPEG file")
