"""Keeps the process's memory where it belongs: large picture buffers go back to the system when they are freed.

glibc gives each thread an arena and, once a few large blocks were freed, keeps later ones in them. With dozens of
request threads and pictures of all sizes that adds up: the process grows by half over an hour and never shrinks.
"""

import ctypes

# From malloc.h.
M_MMAP_THRESHOLD = -3
M_ARENA_MAX = -8
# A raw 640x480 frame stays on the heap; larger ones are mapped, which costs a few per cent of their decoding.
LARGE_BYTES = 2**20
ARENAS = 4


def bound_heap() -> None:
    """Sets glibc's allocator; other C libraries are left as they are."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(M_ARENA_MAX, ARENAS)
