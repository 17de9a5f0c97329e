"""A capacity.json is read as it was written, and anything else is one line that names the file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loadtest.capacity import records
from loadtest.errors import RunError
from loadtest.measure import run_folder
from tests.loadtest.capacity.builders import batch_fit, capacity

Change = Callable[[dict[str, Any]], object]


FOUND = capacity(batch=batch_fit())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / records.FILE
    run_folder.write(FOUND, path)
    return path


def test_what_was_written_is_read_again_from_the_file_or_its_folder(path: Path) -> None:
    assert records.read(path) == records.read(path.parent) == FOUND


def test_a_byte_order_mark_is_no_damage(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert records.read(path).instances == 2


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{}", b"null", b"[]", b"hello", b"1e999", b"\x00" * 100, b"\xff\xfe{\x00}\x00", b'{"format": "1"}'),
        *(b'{"format": 1, "x": ' + b"[" * 100_000, b'{"format": 1, "a": "\xe9"}', b'{"format": 1}'),
    ],
    ids=["empty", "object", "null", "list", "text", "number", "zeros", "utf-16", "words", "deep", "latin-1", "bare"],
)
def test_garbage_is_named_with_its_file(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(RunError, match=rf"{path}: no capacity.json or a damaged one: .*make it again: `make capacity`"):
        records.read(path)


def test_a_file_cut_short_is_damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RunError, match="a damaged one"):
        records.read(path)


@pytest.mark.parametrize("content", ['{"format": 2}', '{"format": 0, "slo_ms": 3}'])
def test_another_version_is_named_before_what_it_lacks(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(RunError, match=r"format [02], this version reads 1; make it again"):
        records.read(path)


@pytest.mark.parametrize("name", ["none.json", "folder", "x" * 5000], ids=["missing", "empty folder", "long name"])
def test_what_cannot_be_read_says_how_to_make_one(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError, match="make one with `make capacity`"):
        records.read(tmp_path / name)


def test_a_device_is_not_read() -> None:
    with pytest.raises(RunError, match="/dev/zero: no file; give a"):
        records.read(Path("/dev/zero"))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda file: file.update(rows=[]), "rows: 0"),
        (lambda file: file.update(instances=0), "instances: 0"),
        (lambda file: file.update(instances=10**15), "instances: 1e"),
        (lambda file: file["slo"].update(estimate=0), "slo.estimate: 0"),
        (lambda file: file["slo"].update(estimate=1e308), "slo.estimate: 1e"),
        (lambda file: file["provenance"].update(request_bytes=0), "request_bytes: 0"),
        (lambda file: file["provenance"].update(response_bytes=-1), "response_bytes: -1"),
        (lambda file: file["provenance"]["machine"].update(cores=-4), "machine.cores: -4"),
        (lambda file: file.update(cpu_ms=-1), "cpu_ms: -1"),
        (lambda file: file["batch"].update(a_ms=-1, b_ms=5), "batch.a_ms: -1"),
        (lambda file: file["batch"].update(a_ms=0, b_ms=0), "batch: 0"),
        (lambda file: file["batch"].update(error_ms=-1), "batch.error_ms: -1"),
        (lambda file: file["scaling"]["points"][0].update(fps=-3), r"scaling.points\[0\].fps: -3"),
        (lambda file: file["rows"][0].update(asked_fps=0), r"rows\[0\].asked_fps: 0"),
        (lambda file: file["rows"][0]["stages"].update(infer=-5), r"rows\[0\].stages.infer: -5"),
        (lambda file: file["rows"][0]["times"].update(p95_ms=1e300), r"rows\[0\].times.p95_ms: 1e"),
    ],
)
def test_figures_that_no_fleet_has_are_named(path: Path, change: Change, fault: str) -> None:
    file = json.loads(path.read_text())
    change(file)
    path.write_text(json.dumps(file))
    with pytest.raises(RunError, match=rf"{fault}.* makes no sense; make it again"):
        records.read(path)
