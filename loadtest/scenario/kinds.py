"""The kinds of scenario: [Bench] -> steps -> [Findings]. A new kind is one more function and its line in `KINDS`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from loadtest import sample_files
from loadtest.errors import RunError
from loadtest.scenario import figures
from loadtest.scenario.bench import Bench
from loadtest.scenario.disturb import disturbed, disturber
from loadtest.scenario.figures import STEP_FIGURES, meets_slo
from loadtest.scenario.resources import growth, watched
from loadtest.step import Step

# A rate that fails its verification is lowered by this much, so often at most.
BACK_OFF = 0.95
MOST_BACK_OFFS = 4
OVERLOAD, AFTER = 1.5, 0.5


@dataclass(frozen=True, slots=True)
class Findings:
    """What a scenario found.

    Attributes:
        figures: by name; every name that its kind promises.
        deciding: the steps that the verdict rests on, which must be valid.
        remarks: what a person should know besides, a line each.
    """

    figures: dict[str, float]
    deciding: tuple[Step, ...]
    remarks: tuple[str, ...] = ()


def run_once(bench: Bench) -> Findings:
    """`cameras` and `single`: the profile's own load."""
    made = bench.step("load")
    return Findings(figures.of_step(made), (made,))


def run_server(bench: Bench) -> Findings:
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
    return Findings(found, verified)


def _verify(bench: Bench, fps: float, back_off: int) -> tuple[Step, ...]:
    seconds, seed = bench.load.seconds, bench.load.seed
    return tuple(
        bench.poisson(f"verify-{fps:.1f}-{number}", fps, seconds, seed=seed + 100 * back_off + number)
        for number in range(1, bench.plan.runs + 1)
    )


def run_offline(bench: Bench) -> Findings:
    """Climbs a ladder of clients that wait for their answers."""
    steps = [bench.step(f"clients-{number}", arrivals="closed", cameras=number) for number in bench.plan.ladder]
    best = max(steps, key=lambda made: made.ok_fps)
    return Findings({"fps": best.ok_fps, "clients": float(best.streams), **figures.faults(steps)}, tuple(steps))


def run_soak(bench: Bench) -> Findings:
    """Sends a share of the capacity for long and watches memory and descriptors."""
    fps = _share(bench)
    with watched(bench.url) as readings:
        made = bench.poisson("soak", fps, bench.load.seconds)
    grown = growth(readings())
    found = figures.of_step(made)
    found |= {"memory_growth_mib": grown.memory_mib, "descriptor_growth": grown.descriptors}
    return Findings(found, (made,))


def run_overload(bench: Bench) -> Findings:
    """Sends more than the capacity, then half of it: what is still answered, and how soon all is well again."""
    capacity, half_s = _known(bench.capacity(), bench), bench.load.seconds / 2
    phases = f"{OVERLOAD}x{half_s:g},{AFTER}x{half_s:g}"
    made = bench.poisson("overload", capacity, 2 * half_s, phases=phases, warmup_s=0.0)
    samples = sample_files.read(Path(made.folder))
    found = figures.relief(samples, over_s=half_s, end_s=2 * half_s, slo_ms=made.slo_ms)
    kept = {
        "goodput_kept": found.goodput_fps / capacity,
        "throughput_kept": found.throughput_fps / capacity,
        "recovery_s": found.recovery_s,
    }
    return Findings(figures.of_step(made) | kept, (made,))


def run_disturbed(bench: Bench) -> Findings:
    """`chaos` and `deploy`: sends a share of the capacity while something is done to the fleet."""
    act = disturber(bench.plan.disturb, bench.url)
    fps = _share(bench)
    with disturbed(act, bench.plan.every_s) as tally:
        made = bench.poisson("disturbed", fps, bench.load.seconds)
    found = figures.of_step(made)
    found |= {"disturbances": float(tally.done), "disturbances_failed": float(len(tally.troubles))}
    return Findings(found, (made,), tuple(tally.troubles[:3]))


def _share(bench: Bench) -> float:
    return _known(bench.capacity(), bench) * bench.plan.share


def _known(capacity_fps: float, bench: Bench) -> float:
    if not capacity_fps:
        raise RunError(f"{bench.url}: holds no rate within {bench.load.slo_ms:g} ms; raise --slo-ms")
    return capacity_fps


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of scenario: what it does, and the names of its figures."""

    run: Callable[[Bench], Findings]
    figures: tuple[str, ...]


KINDS = {
    "cameras": Kind(run_once, STEP_FIGURES),
    "single": Kind(run_once, STEP_FIGURES),
    "server": Kind(run_server, ("fps", "verified", "wrong", "failed")),
    "offline": Kind(run_offline, ("fps", "clients", "wrong", "failed")),
    "soak": Kind(run_soak, (*STEP_FIGURES, "memory_growth_mib", "descriptor_growth")),
    "overload": Kind(run_overload, (*STEP_FIGURES, "goodput_kept", "throughput_kept", "recovery_s")),
    "chaos": Kind(run_disturbed, (*STEP_FIGURES, "disturbances", "disturbances_failed")),
    "deploy": Kind(run_disturbed, (*STEP_FIGURES, "disturbances", "disturbances_failed")),
}
