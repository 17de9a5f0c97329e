"""Kinds of scenario: [Bench] -> steps -> [ScenarioFindings]. A new kind is one more function and its line in `KINDS`.

`disturbed`: does what fleets suffer, now and then while load goes on: kills an instance, or runs a command.

`running`, `read_processes`: which processes answer behind a URL, so that a scenario sees whether one of them was
killed or replaced.
"""

import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from framefleet.repeat import repeated
from loadtest.errors import OptionError, RunError
from loadtest.measure import sample_files
from loadtest.measure.step import Step
from loadtest.scenario import figures
from loadtest.scenario.bench import Bench
from loadtest.scenario.figures import STEP_FIGURES, Relief, meets_slo
from loadtest.scenario.resources import FEWEST, Growth, growth, watched
from loadtest.target.target import Target

KILL = "kill"
COMMAND_LIMIT_S = 600.0
TIMEOUT_S = 10.0
# A balancer goes round idle instances: so many answers without a new name mean that there is none.
KNOWN_IN_A_ROW = 8
MOST_ASKED = 2000
# A rate that fails its verification is lowered by this much, so often at most.
BACK_OFF = 0.95
MOST_BACK_OFFS = 4
OVERLOAD, AFTER = 1.5, 0.5
# Each raises the rate by up to half of it: to about eight times what was thought to be the capacity.
MOST_RAISES = 5
# Growth of memory shows in minutes.
LEAST_SOAK_S = 300.0
# Half of it is overload, whose first second is left out.
LEAST_OVERLOAD_S = 4.0
# A step of a ladder that is this much higher than those below it is not its end.
GROWS_FROM = 1.05
SILENT = (
    "the service does not say which processes answer, so nobody saw one end (/status; behind `monitoring.operators` "
    "ask from an address that is named there)"
)


@dataclass(slots=True)
class Tally:
    """What was done so far: `done` disturbances, and those that could not be done with the reason why."""

    done: int = 0
    troubles: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ScenarioFindings:
    """What a scenario found.

    Attributes:
        figures: by name; every name that its kind promises.
        deciding: the steps that the verdict rests on, which must be valid.
        remarks: what a person should know besides, a line each.
        untested: why it did not test what it claims, a line each; then it cannot pass.
    """

    figures: dict[str, float]
    deciding: tuple[Step, ...]
    remarks: tuple[str, ...] = ()
    untested: tuple[str, ...] = ()


def run_once(bench: Bench) -> ScenarioFindings:
    """`cameras` and `single`: the profile's own load."""
    made = bench.step("load")
    return ScenarioFindings(figures.of_step(made), (made,))


def run_server(bench: Bench) -> ScenarioFindings:
    """Searches the highest rate that holds the SLO, then verifies it with other seeds."""
    fps, held, runs = bench.capacity(), 0, bench.plan.runs
    verified: tuple[Step, ...] = ()
    for back_off in range(MOST_BACK_OFFS + 1):
        fps = fps * BACK_OFF if back_off else fps
        verified = _verify(bench, fps, back_off) if fps else ()
        held = sum(meets_slo(made, bench.plan.quantile) for made in verified)
        if held == runs or not fps:
            break
    found = {"fps": fps, "verified": held / runs, **figures.faults(verified)}
    return ScenarioFindings(found, verified)


def _verify(bench: Bench, fps: float, back_off: int) -> tuple[Step, ...]:
    seconds, seed = bench.load.seconds, bench.load.seed
    return tuple(
        bench.poisson(f"verify-{fps:.1f}-{number}", fps, seconds, seed=seed + 100 * back_off + number)
        for number in range(1, bench.plan.runs + 1)
    )


def run_offline(bench: Bench) -> ScenarioFindings:
    """Climbs a ladder of clients that wait for their answers."""
    steps = [bench.step(f"clients-{number}", arrivals="closed", cameras=number) for number in bench.plan.ladder]
    best = max(steps, key=lambda made: made.ok_fps)
    found = {"fps": best.ok_fps, "clients": float(best.streams), **figures.faults(steps)}
    return ScenarioFindings(found, tuple(steps), tuple(_ladder_remarks(steps)))


def _ladder_remarks(steps: Sequence[Step]) -> Iterable[str]:
    last = max(steps, key=lambda made: made.streams)
    fewer = max((made.ok_fps for made in steps if made.streams < last.streams), default=0.0)
    if last.ok_fps > GROWS_FROM * fewer:
        yield f"{last.streams} clients still got more than fewer of them: with more clients there may be more to get"
    shed = [f"{made.streams}" for made in steps if made.counts.shed]
    if shed:
        yield f"the service refused frames of {', '.join(shed)} clients: it takes no more at once"


def run_soak(bench: Bench) -> ScenarioFindings:
    """Sends a share of the capacity for long and watches memory and descriptors."""
    fps = _share(bench)
    with watched(bench.url) as readings:
        made = bench.poisson("soak", fps, bench.load.seconds)
    grown = growth(readings())
    found = figures.of_step(made)
    found |= {"memory_growth_mib": grown.memory_mib, "descriptor_growth": grown.descriptors}
    found |= {"restarts": float(grown.restarts)}
    return ScenarioFindings(found, (made,), untested=tuple(_unsoaked(made, grown)))


def _unsoaked(made: Step, grown: Growth) -> Iterable[str]:
    if made.seconds < LEAST_SOAK_S:
        yield f"{made.seconds:g} s are too short to see anything grow; --seconds takes {LEAST_SOAK_S:g} and more"
    if unwatched := sorted({one.name for one in made.instances} - grown.watched):
        yield f"memory and descriptors of {', '.join(unwatched)} were read less than {FEWEST} times (/metrics)"


def run_overload(bench: Bench) -> ScenarioFindings:
    """Sends more than the capacity, then half of it: what is still answered, and how soon all is well again.

    A fleet that answers all the same holds more than was thought: what it answered is its capacity then, and it gets
    more than that.

    Raises:
        OptionError: it is too short to see anything.
    """
    if bench.load.seconds < LEAST_OVERLOAD_S:
        raise OptionError(f"--seconds={bench.load.seconds:g}: an overload takes {LEAST_OVERLOAD_S:g} and more")
    capacity = _known(bench.capacity(), bench)
    made, found = _overload(bench, "overload", capacity)
    remarks = []
    for _ in range(MOST_RAISES):
        if found.overloaded or not made.valid:
            break
        remarks.append(f"{found.offered_fps:.1f} frames/s were no overload, {found.throughput_fps:.1f} were answered")
        capacity = found.throughput_fps
        made, found = _overload(bench, f"overload-{capacity:.1f}", capacity)
    kept = {
        "goodput_kept": found.goodput_fps / capacity,
        "throughput_kept": found.throughput_fps / capacity,
        "recovery_s": found.recovery_s,
    }
    calm = f"not overloaded: of {found.offered_fps:.1f} frames/s {found.throughput_fps:.1f} were still answered"
    untested = () if found.overloaded else (calm,)
    return ScenarioFindings(figures.of_step(made) | kept, (made,), tuple(remarks), untested)


def _overload(bench: Bench, name: str, capacity_fps: float) -> tuple[Step, Relief]:
    half_s = bench.load.seconds / 2
    phases = f"{OVERLOAD}x{half_s:g},{AFTER}x{half_s:g}"
    made = bench.poisson(name, capacity_fps, 2 * half_s, phases=phases, warmup_s=0.0)
    samples = sample_files.read(Path(made.folder))
    return made, figures.relief(samples, over_s=half_s, end_s=2 * half_s, slo_ms=made.slo_ms)


def run_chaos(bench: Bench) -> ScenarioFindings:
    """Sends a share of the capacity while instances are killed; at least one has to be seen to end."""
    findings, before, after = _disturbed(bench)
    if before and not ended(before, after):
        return replace(findings, untested=("no instance ended: the processes that answer are those from before",))
    return findings


def run_deploy(bench: Bench) -> ScenarioFindings:
    """Sends a share of the capacity while instances are replaced; every one has to be seen to be."""
    findings, before, after = _disturbed(bench)
    if left := sorted(set(before) - set(replaced(before, after))):
        return replace(findings, untested=(f"{', '.join(left)}: no new process answered before the load ended",))
    return findings


def _disturbed(bench: Bench) -> tuple[ScenarioFindings, dict[str, int], dict[str, int]]:
    """What was found, and the processes that answered before the load and at its end."""
    act = disturber(bench.plan.disturb, bench.url)
    fps = _share(bench)
    before = running(bench.url)
    with disturbed(act, bench.plan.every_s) as tally:
        made = bench.poisson("disturbed", fps, bench.load.seconds)
        # What ends after the load was not under it.
        done, after = tally.done, running(bench.url)
    found = figures.of_step(made)
    found |= {"disturbances": float(done), "disturbances_failed": float(len(tally.troubles))}
    found |= {"replaced": float(len(replaced(before, after)))}
    untested = () if before else (SILENT,)
    return ScenarioFindings(found, (made,), tuple(tally.troubles[:3]), untested), before, after


def _share(bench: Bench) -> float:
    return _known(bench.capacity(), bench) * bench.plan.share


def _known(capacity_fps: float, bench: Bench) -> float:
    if not capacity_fps:
        raise RunError(f"{bench.url}: holds no rate within {bench.load.slo_ms:g} ms; raise --slo-ms")
    return capacity_fps


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of scenario.

    Attributes:
        run: what it does.
        figures: names of what it finds.
        plan: names of the plan's values that it uses.
        sets: names of the load's options that it sets itself.
    """

    run: Callable[[Bench], ScenarioFindings]
    figures: tuple[str, ...]
    plan: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()


_SEARCH = ("capacity_fps", "quantile", "first_fps", "search_s")
_POISSON = ("arrivals", "cameras", "fps", "keep", "burst")
_DISTURBANCES = ("disturbances", "disturbances_failed", "replaced")
KINDS = {
    "cameras": Kind(run_once, STEP_FIGURES),
    "single": Kind(run_once, STEP_FIGURES),
    "server": Kind(run_server, ("fps", "verified", "changed", "failed"), (*_SEARCH, "runs"), (*_POISSON, "phases")),
    "offline": Kind(run_offline, ("fps", "clients", "changed", "failed"), ("ladder",), (*_POISSON, "phases")),
    "soak": Kind(
        run_soak,
        (*STEP_FIGURES, "memory_growth_mib", "descriptor_growth", "restarts"),
        (*_SEARCH, "share"),
        (*_POISSON, "phases"),
    ),
    "overload": Kind(
        run_overload,
        (*STEP_FIGURES, "goodput_kept", "throughput_kept", "recovery_s"),
        _SEARCH,
        (*_POISSON, "phases", "warmup_s"),
    ),
    "chaos": Kind(
        run_chaos, (*STEP_FIGURES, *_DISTURBANCES), (*_SEARCH, "share", "disturb", "every_s"), (*_POISSON, "phases")
    ),
    "deploy": Kind(
        run_deploy, (*STEP_FIGURES, *_DISTURBANCES), (*_SEARCH, "share", "disturb", "every_s"), (*_POISSON, "phases")
    ),
}


def running(url: str) -> dict[str, int]:
    """Process ids by instance; empty if the service does not tell."""
    with Target(url, TIMEOUT_S) as target:
        return read_processes(target.status)


def read_processes(status: Callable[[], Mapping[str, Any]]) -> dict[str, int]:
    """Asks until every instance has answered.

    Args:
        status: the `/status` document of whichever instance answers.
    """
    found: dict[str, int] = {}
    known = 0
    for _ in range(MOST_ASKED):
        document = status()
        name, pid = document.get("instance"), document.get("pid")
        known = 0 if isinstance(name, str) and isinstance(pid, int) and name not in found else known + 1
        if isinstance(name, str) and isinstance(pid, int):
            found[name] = pid
        if known == KNOWN_IN_A_ROW:
            break
    return found


def ended(before: Mapping[str, int], after: Mapping[str, int]) -> tuple[str, ...]:
    """Instances whose process is another one now, or none."""
    return tuple(name for name, pid in before.items() if after.get(name) != pid)


def replaced(before: Mapping[str, int], after: Mapping[str, int]) -> tuple[str, ...]:
    """Instances that answer again, from another process."""
    return tuple(name for name in ended(before, after) if name in after)


def disturber(what: str, url: str) -> Callable[[int], None]:
    """What to do the n-th time, from 1.

    Args:
        what: see `profile.Plan.disturb`.
        url: the service.

    Raises:
        OptionError: nothing is to be done.
    """
    if what == KILL:
        return lambda number: kill_one(url)
    if not what:
        raise OptionError("--disturb: say what to do to the fleet: kill, or a command such as one that restarts it")
    return lambda number: run_command(what.replace("{n}", str(number)))


@contextmanager
def disturbed(act: Callable[[int], None], every_s: float) -> Iterator[Tally]:
    """Acts every so many seconds for as long as the block lasts."""
    tally = Tally()

    def disturb() -> None:
        try:
            act(tally.done + 1)
            tally.done += 1
        except RunError as error:
            tally.troubles.append(str(error))

    with repeated(disturb, lambda: every_s):
        yield tally


def kill_one(url: str, kill: Callable[[int, int], None] = os.kill) -> None:
    """Ends the instance that happens to answer, by signal 9.

    Raises:
        RunError: it is not on this machine.
    """
    with Target(url, TIMEOUT_S) as target:
        pid = target.status().get("pid")
    if not isinstance(pid, int) or not _is_instance(pid):
        raise RunError(f"{url}: its instance is not on this machine; give a command that ends one with --disturb")
    try:
        kill(pid, signal.SIGKILL)
    except OSError as error:
        raise RunError(f"process {pid}: {error.strerror}; run as the user that runs the fleet") from None


def run_command(command: str) -> None:
    """Runs a command without a shell and waits for it.

    Raises:
        RunError: it failed, or takes too long.
    """
    try:
        done = subprocess.run(
            shlex.split(command), stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_LIMIT_S, check=False
        )
    except (OSError, ValueError) as error:
        raise RunError(f"{command}: {error}") from None
    except subprocess.TimeoutExpired:
        raise RunError(f"{command}: not done after {COMMAND_LIMIT_S:g} s") from None
    if done.returncode != 0:
        last = (done.stderr or done.stdout).decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise RunError(f"{command}: ended with code {done.returncode}: {last}")


def _is_instance(pid: int) -> bool:
    """A number from another machine must not end a stranger here."""
    try:
        return b"gunicorn" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
