"""What generators report is kept, and only a whole run gets an end."""

from pathlib import Path

import pytest

from loadtest.generate.collect import Collector
from loadtest.measure import faults, run_folder, sample_files
from loadtest.measure.faults import Fault
from loadtest.measure.run_folder import EndRecord
from loadtest.measure.samples import Encoder
from loadtest.target.verdict import Verdict
from tests.loadtest.builders import sample


def test_the_parts_become_one_run_as_busy_as_its_busiest_generator(tmp_path: Path) -> None:
    with Collector(tmp_path, 2) as collector:
        for part, cpu in ((0, 0.2), (1, 0.9)):
            outlet = collector.outlet(part)
            outlet.samples(Encoder().encode(sample(part)))
            outlet.fault(Fault(part, 0, 0.0, Verdict.SHED, "gpu0", "id", "shed with 503"))
            outlet.end(EndRecord(part == 1, 10.0 + part, cpu, starved=part))
    assert sample_files.read(tmp_path)["frame"].tolist() == [0, 1]
    assert [fault.camera for fault in faults.read(tmp_path / run_folder.FAULTS)] == [0, 1]
    assert run_folder.read_end(tmp_path) == EndRecord(
        complete=False, elapsed_s=11.0, generator_cpu=0.9, processes=2, starved=1
    )


def test_a_run_with_a_silent_generator_has_no_end_but_keeps_its_samples(tmp_path: Path) -> None:
    with pytest.raises(KeyError), Collector(tmp_path, 2) as collector:
        collector.outlet(0).samples(Encoder().encode(sample(0)))
        collector.outlet(0).end(EndRecord(True, 1.0, 0.1))
        raise KeyError("the other one fell silent")
    assert run_folder.read_end(tmp_path) is None
    assert len(sample_files.read(tmp_path)) == 1
