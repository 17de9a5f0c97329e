"""One header tells what each stage took; what is written is read back."""

import pytest

from framefleet.wire.timing import STAGES, read_batch_size, read_server_timing, server_timing


@pytest.mark.parametrize(
    ("header", "times"),
    [
        (
            "decode;dur=0.5, queue;dur=0.1, infer;dur=30.1, post;dur=0.2",
            {"decode": 0.5, "queue": 0.1, "infer": 30.1, "post": 0.2},
        ),
        ("decode;dur=0.5, infer;dur=30", {"decode": 0.5, "infer": 30.0}),
        ('cache;desc="hit";dur=2.25, missing, db;dur=x', {"cache": 2.25}),
        ('cache;dur=9,infer;desc="the engine";dur=12', {"cache": 9.0, "infer": 12.0}),
        ("infer", {}),
        ("infer;dur=.", {}),
        ("", {}),
    ],
    ids=["ours", "two", "no number", "others", "no time", "a dot", "none"],
)
def test_times_are_read_by_stage(header: str, times: dict[str, float]) -> None:
    assert read_server_timing(header) == times


@pytest.mark.parametrize(
    ("header", "frames"),
    [
        ('decode;dur=0.5, infer;dur=30.1;desc="batch of 12", post;dur=0.2', 12),
        ('infer;desc="batch of 3";dur=12', 3),
        ('queue;desc="batch of 3";dur=1, infer;dur=12', 0),
        ('infer;dur=12;desc="batch of 0"', 0),
        ('infer;dur=12;desc="batch of 99999"', 0),
        ("", 0),
    ],
    ids=["ours", "other order", "another stage", "zero", "too many", "none"],
)
def test_a_batch_is_read_from_what_infer_says(header: str, frames: int) -> None:
    assert read_batch_size(header) == frames


@pytest.mark.parametrize("batch_size", [None, 1, 32])
def test_what_is_written_is_read_back(batch_size: int | None) -> None:
    header = server_timing((0.5, 0.125, 30.0, 0.0004), batch_size)
    assert read_server_timing(header) == dict(zip(STAGES, (0.5, 0.125, 30.0, 0.0), strict=True))
    assert read_batch_size(header) == (batch_size or 0)
