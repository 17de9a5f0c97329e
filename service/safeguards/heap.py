"""Keeps the process's memory where it belongs: large picture buffers go back to the system when they are freed.

glibc gives each thread an arena and, once a few large blocks were freed, keeps later ones in them. With dozens of
request threads and pictures of all sizes that adds up: the process grows by half over an hour and never shrinks.
"""

import ctypes
import gc

# From malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
M_ARENA_MAX = -8
# A raw 640x480 frame stays on the heap; larger ones are mapped, which costs a few per cent of their decoding.
LARGE_BYTES = 2**20
# An arena's unused end goes back when it is longer than this. At glibc's 128 KiB a frame's memory goes back each time.
TRIM_BYTES = 4 * 2**20
ARENAS = 4


def bound_heap() -> None:
    """Sets glibc's allocator; other C libraries are left as they are."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(M_TRIM_THRESHOLD, TRIM_BYTES)
        mallopt(M_ARENA_MAX, ARENAS)


def settle_heap() -> None:
    """Spares what was loaded by now Python's collections of garbage: each full one would look through all of it."""
    gc.collect()
    gc.freeze()
