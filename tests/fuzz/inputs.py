"""Where hostile inputs come from: the corpus, and hypothesis, which damages it."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

CORPUS = Path(__file__).with_name("corpus")
EXAMPLES = 150
MOST_EDITS = 5
MOST_BYTES = 12

Edit = Callable[[bytes], bytes]


def corpus(name: str) -> list[Path]:
    """The files of one part of the corpus."""
    found = sorted((CORPUS / name).iterdir())
    assert found, f"{CORPUS / name} is empty"
    return found


def fuzz(share: float = 1.0) -> Any:
    """Hypothesis' settings for one test.

    Args:
        share: of the usual number of examples; tests of slow code take fewer.
    """
    wanted = os.environ.get("FUZZ_EXAMPLES")
    return settings(
        max_examples=max(1, round(int(wanted or EXAMPLES) * share)),
        derandomize=wanted is None,  # in CI a failure must be a change's fault
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def damaged(samples: Sequence[bytes], tokens: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Samples with a few edits each.

    Args:
        samples: to begin with.
        tokens: what means something to the parser, put in at random places.
    """
    edits = st.lists(_edit(tokens), max_size=MOST_EDITS)
    return st.builds(_apply, st.sampled_from(list(samples)), edits)


def _apply(sample: bytes, edits: Sequence[Edit]) -> bytes:
    for edit in edits:
        sample = edit(sample)
    return sample


def _edit(tokens: Sequence[bytes]) -> st.SearchStrategy[Edit]:
    place = st.floats(0, 1, exclude_max=True)
    piece = st.sampled_from(list(tokens)) | st.binary(min_size=1, max_size=MOST_BYTES)
    return st.one_of(
        st.builds(_flip, place, st.integers(0, 7)),
        st.builds(_put, place, piece, st.just(0)),
        st.builds(_put, place, piece, st.integers(1, MOST_BYTES)),
        st.builds(_put, place, st.just(b""), st.integers(1, 100)),
        st.builds(_cut, place),
        st.builds(_repeat, place, st.integers(1, 40), st.sampled_from([2, 10, 100])),
    )


def _flip(place: float, bit: int) -> Edit:
    def edit(sample: bytes) -> bytes:
        at = int(place * len(sample))
        return sample[:at] + bytes(byte ^ (1 << bit) for byte in sample[at : at + 1]) + sample[at + 1 :]

    return edit


def _put(place: float, piece: bytes, instead_of: int) -> Edit:
    def edit(sample: bytes) -> bytes:
        at = int(place * len(sample))
        return sample[:at] + piece + sample[at + instead_of :]

    return edit


def _cut(place: float) -> Edit:
    return lambda sample: sample[: int(place * len(sample))]


def _repeat(place: float, length: int, times: int) -> Edit:
    def edit(sample: bytes) -> bytes:
        at = int(place * len(sample))
        return sample[:at] + sample[at : at + length] * times + sample[at + length :]

    return edit
