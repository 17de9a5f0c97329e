"""Raw samples survive the disk, and stay small on it."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.errors import RunError
from loadtest.measure import sample_files, samples
from loadtest.measure.sample_files import SampleFile, SampleWriter, VerdictTail
from loadtest.measure.samples import HEADER, Sample
from loadtest.measure.summary import order_statistics
from loadtest.target.verdict import Verdict
from tests.loadtest.builders import sample, to_table, write_samples

MICROSECONDS = 5e-6
waits = st.floats(0, 60)


def made(due_s: float, wait_s: float, service_s: float, **rest: object) -> Sample:
    return Sample(scheduled_s=due_s, sent_s=due_s + wait_s, done_s=due_s + wait_s + service_s, **rest)  # type: ignore[arg-type]


many = st.lists(
    st.builds(
        made,
        camera=st.integers(0, 1000),
        frame=st.integers(0, 100_000),
        due_s=st.floats(0, 1e5),
        wait_s=waits | st.just(math.nan),
        service_s=waits,
        status=st.sampled_from([0, 200, 429, 503]),
        verdict=st.sampled_from(Verdict),
        instance=st.from_regex(r"[\w.:@-]{0,48}", fullmatch=True).filter(str.isascii),
        decode_ms=st.just(math.nan) | st.just(0.5),
        response_bytes=st.integers(0, 10**9),
    ),
    max_size=20,
)


@given(rows=many)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, rows: list[Sample]) -> None:
    folder = tmp_path_factory.mktemp("run")
    write_samples(folder / "samples-0.bin", rows)
    expected = to_table(sorted(rows, key=lambda row: row.scheduled_s))
    found = sample_files.read(folder)
    for name in samples.COLUMNS:
        if name in ("sent_s", "done_s"):
            np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=2 * MICROSECONDS, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_percentiles_from_disk_are_those_of_a_known_distribution(tmp_path: Path) -> None:
    """Exponential service times of mean 20 ms, one for each of 100,000 equal parts of the probability, shuffled."""
    parts = (np.arange(100_000) + 0.5) / 100_000
    taken_ms = np.random.default_rng(1).permutation(-20.0 * np.log1p(-parts))
    write_samples(tmp_path / "samples-0.bin", (sample(n, latency_ms=ms) for n, ms in enumerate(taken_ms.tolist())))
    table = sample_files.read(tmp_path)
    found = order_statistics((table["done_s"] - table["scheduled_s"]) * 1e3)
    for value, quantile in ((found.p50, 0.5), (found.p95, 0.95), (found.p99, 0.99)):
        assert value == pytest.approx(-20.0 * math.log(1 - quantile), rel=0.001)


def test_a_sample_takes_54_bytes(tmp_path: Path) -> None:
    path = tmp_path / "samples-0.bin"
    write_samples(path, (sample(n) for n in range(1000)))
    # A header, and the name of the one instance.
    assert path.stat().st_size == 54 * 1002


def test_an_unfinished_last_record_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "samples-0.bin"
    write_samples(path, [sample(0), sample(1)])
    path.write_bytes(path.read_bytes()[:-5])
    assert len(sample_files.read(tmp_path)) == 1


def test_files_of_several_generators_are_merged_in_scheduled_order(tmp_path: Path) -> None:
    write_samples(tmp_path / "samples-0.bin", [sample(0, instance="a"), sample(2, instance="b")])
    write_samples(tmp_path / "samples-1.bin", [sample(1, instance="b"), sample(3, instance="c")])
    found = sample_files.read(tmp_path)
    assert found["frame"].tolist() == [0, 1, 2, 3]
    assert found["instance"].tolist() == ["a", "b", "b", "c"]


def test_a_foreign_instance_name_is_cleaned(tmp_path: Path) -> None:
    write_samples(tmp_path / "samples-0.bin", [sample(instance='a,b\n"c"#d' + "x" * 60)])
    (name,) = sample_files.read(tmp_path)["instance"].tolist()
    assert name == ("a_b__c__d" + "x" * 60)[:48]


def test_more_instances_than_there_are_numbers_are_unknown(tmp_path: Path) -> None:
    write_samples(tmp_path / "samples-0.bin", (sample(n, instance=f"gpu{n}") for n in range(300)))
    names = sample_files.read(tmp_path)["instance"].tolist()
    assert names[:254] == [f"gpu{n}" for n in range(254)]
    assert set(names[254:]) == {""}


def test_an_empty_run_has_no_samples(tmp_path: Path) -> None:
    write_samples(tmp_path / "samples-0.bin", [])
    assert len(sample_files.read(tmp_path)) == 0


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, r"no samples\*\.bin"),
        (b"camera,frame\n1,2\n", "no sample file of this version"),
        (HEADER + b"\x33" * 54, "unknown verdict; run the replay again"),
    ],
    ids=["missing", "foreign", "damaged"],
)
def test_an_unreadable_file_is_named(tmp_path: Path, content: bytes | None, complaint: str) -> None:
    if content is not None:
        (tmp_path / "samples-0.bin").write_bytes(content)
    with pytest.raises(RunError, match=complaint):
        sample_files.read(tmp_path)


def test_a_closed_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not open"):
        SampleFile(tmp_path / "samples-0.bin").append(b"")


def test_a_follower_sees_records_as_they_reach_the_disk(tmp_path: Path) -> None:
    now = [0.0]
    tail = VerdictTail(tmp_path)
    assert tail.update() == 0
    with SampleFile(tmp_path / "samples-0.bin") as file, SampleWriter(file.append, lambda: now[0]) as out:
        out.write(sample(0))
        assert tail.update() == 0
        now[0] = 1.0
        out.write(sample(1, verdict=Verdict.SHED, status=503))
        assert tail.update() == 2
        out.write(sample(2))
    assert tail.update() == 3
    assert (tail.counts["same"], tail.counts["shed"], tail.counts["changed"]) == (2, 1, 0)
