"""A scenario says what it could not test, whatever its figures."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from loadtest.errors import OptionError
from loadtest.measure.run_folder import samples_name
from loadtest.measure.samples import Sample
from loadtest.measure.step import Step
from loadtest.measure.summary import InstanceShare
from loadtest.options import ReplayOptions
from loadtest.scenario import kinds
from loadtest.scenario.bench import Bench
from loadtest.scenario.profile import ProfilePlan
from loadtest.target.verdict import Verdict
from tests.loadtest.builders import sample, write_samples
from tests.loadtest.fake_service import FakeService, Scripted, fake_service
from tests.loadtest.scenario.test_figures import STEP


@dataclass(slots=True)
class Fleet(Bench):
    """A bench whose fleet answers so many frames a second and refuses the rest; no step takes any time."""

    holds_fps: float = 0.0
    seconds: float = 10.0
    valid: bool = True
    clients: list[Step] = field(default_factory=list)

    def poisson(self, name: str, fps: float, seconds: float, **changes: Any) -> Step:
        folder = self.folder / name
        folder.mkdir()
        factor = kinds.OVERLOAD if changes.get("phases") else 1.0
        write_samples(folder / samples_name(0), self._samples(fps * factor, seconds / 2, fps / 2))
        invalid = () if self.valid else ("the generator sent late",)
        return replace(STEP, name=name, folder=str(folder), seconds=self.seconds, invalid=invalid)

    def step(self, name: str, **changes: Any) -> Step:
        return self.clients.pop(0)

    def _samples(self, fps: float, over_s: float, calm_fps: float) -> Iterator[Sample]:
        part = min(1.0, self.holds_fps / fps)
        for n in range(int(fps * over_s)):
            answered = int((n + 1) * part) > int(n * part)
            yield sample(n, period_s=1 / fps, verdict=Verdict.SAME if answered else Verdict.SHED)
        for n in range(int(calm_fps * over_s)):
            one = sample(n, period_s=1 / calm_fps)
            yield replace(
                one, scheduled_s=one.scheduled_s + over_s, sent_s=one.sent_s + over_s, done_s=one.done_s + over_s
            )


def fleet(folder: Path, url: str = "http://fleet", **more: Any) -> Fleet:
    load, plan = ReplayOptions(seconds=40.0), ProfilePlan(capacity_fps=20.0, disturb="true", every_s=0.01)
    return Fleet(url, load, plan, folder, lambda line: None, **more)


def test_an_overload_is_one_at_once(tmp_path: Path) -> None:
    found = kinds.run_overload(fleet(tmp_path, holds_fps=22))
    assert (found.untested, found.remarks) == ((), ())
    assert found.figures["throughput_kept"] == pytest.approx(1.1, rel=0.05)
    assert found.figures["recovery_s"] == 0.0


def test_a_fleet_that_holds_more_than_was_thought_gets_more(tmp_path: Path) -> None:
    found = kinds.run_overload(fleet(tmp_path, holds_fps=50))
    assert found.untested == ()
    assert found.remarks[0] == "30.0 frames/s were no overload, 30.0 were answered"
    # 30, then 45 of 30; 67.5 of 45 are too many for it.
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["overload", "overload-30.0", "overload-45.0"]
    assert found.figures["throughput_kept"] == pytest.approx(50 / 45, rel=0.05)


def test_a_fleet_that_cannot_be_overloaded_was_not_tested(tmp_path: Path) -> None:
    found = kinds.run_overload(fleet(tmp_path, holds_fps=100_000))
    (reason,) = found.untested
    assert reason.startswith("not overloaded: of ")
    assert len(list(tmp_path.iterdir())) == 1 + kinds.MOST_RAISES


def test_a_generator_that_is_not_up_to_it_is_not_asked_for_more(tmp_path: Path) -> None:
    kinds.run_overload(fleet(tmp_path, holds_fps=100_000, valid=False))
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("seconds", [0.1, 2.0, 3.9])
def test_an_overload_too_short_to_see_is_refused(tmp_path: Path, seconds: float) -> None:
    bench = fleet(tmp_path, holds_fps=22)
    bench.load = replace(bench.load, seconds=seconds)
    with pytest.raises(OptionError, match=rf"--seconds={seconds:g}: an overload takes 4 and more"):
        kinds.run_overload(bench)


@contextmanager
def instances(documents: list[str]) -> Iterator[FakeService]:
    """A service whose `/status` gives one document after the other, the last one for ever."""
    with fake_service(lambda number: Scripted()) as service:
        asked = count()

        def document(_: FakeService) -> bytes:
            return documents[min(next(asked), len(documents) - 1)].encode()

        service.__class__ = type("Changing", (FakeService,), {"document": property(document)})
        yield service


# As many as tell that there is no further instance.
BEFORE = ['{"instance": "cpu0", "pid": 1}', '{"instance": "cpu1", "pid": 2}'] * 5


@pytest.mark.parametrize(
    ("after", "chaos", "deploy"),
    [
        (BEFORE, "no instance ended", "cpu0, cpu1: no new process answered before the load ended"),
        ([BEFORE[0], '{"instance": "cpu1", "pid": 9}'] * 5, "", "cpu0: no new process answered"),
        (['{"instance": "cpu0", "pid": 8}', '{"instance": "cpu1", "pid": 9}'] * 5, "", ""),
        ([BEFORE[0]] * 10, "", "cpu0, cpu1: no new process answered"),
    ],
    ids=["none", "one", "all", "one is gone"],
)
def test_kills_and_deploys_have_to_be_seen(tmp_path: Path, after: list[str], chaos: str, deploy: str) -> None:
    for run, reason in ((kinds.run_chaos, chaos), (kinds.run_deploy, deploy)):
        folder = tmp_path / run.__name__
        folder.mkdir()
        with instances([*BEFORE, *after]) as service:
            found = run(fleet(folder, service.url, holds_fps=99))
        assert bool(found.untested) is bool(reason)
        assert reason in "".join(found.untested)


@pytest.mark.parametrize("run", [kinds.run_chaos, kinds.run_deploy])
def test_a_service_that_does_not_say_who_answers_was_not_tested(tmp_path: Path, run: Any) -> None:
    with instances(["{}"]) as service:
        found = run(fleet(tmp_path, service.url, holds_fps=99))
    assert found.untested == (kinds.SILENT,)


def test_a_soak_that_is_too_short_or_sees_no_memory_was_not_tested(tmp_path: Path) -> None:
    with fake_service(lambda number: Scripted()) as service:
        bench = fleet(tmp_path, service.url, holds_fps=99)
        found = kinds.run_soak(bench)
    assert found.untested == ("10 s are too short to see anything grow; --seconds takes 300 and more",)


def clients(number: int, ok_fps: float, shed: int = 0) -> Step:
    share = InstanceShare("gpu0", 10, 1.0, 10.0, 5.0)
    return replace(STEP, streams=number, ok_fps=ok_fps, counts=replace(STEP.counts, shed=shed), instances=(share,))


def test_a_ladder_that_ends_while_it_still_climbs_says_so(tmp_path: Path) -> None:
    bench = fleet(tmp_path, clients=[clients(1, 10), clients(2, 18), clients(4, 30), clients(8, 50), clients(16, 80)])
    assert kinds.run_offline(bench).remarks[0].startswith("16 clients still got more than fewer of them")


def test_a_ladder_that_levelled_off_says_nothing_but_who_was_refused(tmp_path: Path) -> None:
    bench = fleet(
        tmp_path, clients=[clients(1, 10), clients(2, 18), clients(4, 30), clients(8, 31), clients(16, 31, 5)]
    )
    (remark,) = kinds.run_offline(bench).remarks
    assert remark.startswith("the service refused frames of 16 clients")
