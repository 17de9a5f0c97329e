"""Tries how many instances, on which CPUs, answer most on this machine: `python -m bench.tune` (`make tune`).

Flow: CPUs -> placements [Placement...] -> a fleet each, under load [Try...] -> a table, and what to write where.

`Placement`: ways to place instances on a machine, and which is advised: CPUs -> [Placement...] -> [Tried...]. Pure.
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("bench.tune")


import argparse
import io
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from deploy.describe.local import DEFAULT_MODEL
from deploy.fleet import MAX_INSTANCES
from framefleet.machine.ports import reserved_ports
from loadtest.errors import LoadTestError, OptionError, RunError
from loadtest.generate import steps
from loadtest.generate.prepare import check_video
from loadtest.generate.steps import StepOptions
from loadtest.measure.step import Step
from loadtest.options import HELP, ReplayOptions, checked
from loadtest.report.progress import Progress
from loadtest.report.table import milliseconds
from loadtest.scenario.resources import watched
from loadtest.target.claim import folder_claim

# Fewer frames than the best by no more than this is noise: then fewer instances win, which take less memory.
AS_GOOD = 0.95
# On a large machine the halves of halves say enough.
MOST_SIZES = 4
FAILED, USAGE = 1, 2
STEPS = "steps"
WARMUP_S = 1.0
ROUNDS = 2
# What a placement is asked for beside its greatest throughput: a part of what the first one gave, the same for all.
PART = 0.7
CLIENTS_PER_CPU = 8
READ_EVERY_S = 0.5
# Of each try: the fleet's start and end, and the generator's own.
BESIDE_S = 20
LIMITS = {"seconds": (1, 600), "rounds": (1, 20), "clients": (0, 1000)}
SHARED = ("video", "quality", "width", "max_frames", "payload", "threshold")


@dataclass(frozen=True, slots=True)
class Placement:
    """A way to place a fleet.

    Attributes:
        instances: how many.
        own: CPUs of each alone, as `make up` takes them: `auto`, or 0 where all share all of them.
    """

    instances: int
    own: str = "auto"

    def __str__(self) -> str:
        if self.instances == 1:
            return "1 on all CPUs"
        return f"{self.instances} sharing all CPUs" if self.own == "0" else f"{self.instances} on CPUs of their own"


@dataclass(frozen=True, slots=True)
class Try:
    """What a placement did once.

    Attributes:
        fps: right answers per second to clients that wait for them: the greatest throughput.
        p95_ms: of independent clients, who ask all placements for the same part of that.
        memory_mib: resident memory of the largest instance; NaN if none tells.
        doubts: why it is no valid measurement, a line each.
    """

    fps: float
    p95_ms: float
    memory_mib: float
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tried:
    """A placement and all that it did, of which medians count; at least once."""

    placement: Placement
    tries: Sequence[Try]

    @property
    def fps(self) -> float:
        """Right answers per second at most."""
        return median(one.fps for one in self.tries)

    @property
    def p95_ms(self) -> float:
        """95 % of the answers to independent clients took no longer."""
        return median(one.p95_ms for one in self.tries)

    @property
    def memory_mib(self) -> float:
        """Resident memory of all instances."""
        return self.placement.instances * max(one.memory_mib for one in self.tries)


@dataclass(slots=True)
class Tuner:
    """Makes the tries, and keeps them apart on disk.

    Attributes:
        load: what is sent.
        clients: that wait for their answers when the greatest throughput is measured.
        seconds: length of a step, without its warm-up.
        folder: of everything.
        model: as `make up` takes it.
        part_fps: rate of the steady step; 0 until the first try has told.
        made: steps so far.
    """

    load: ReplayOptions
    clients: int
    seconds: float
    folder: Path
    model: str
    part_fps: float = 0.0
    made: int = 0

    def measure(self, placement: Placement) -> Try:
        """Starts a fleet, loads it, stops it.

        Raises:
            LoadTestError: it does not start, or cannot be measured.
        """
        with self._fleet(placement) as url, watched(url, READ_EVERY_S) as readings:
            most = self._step(url, arrivals="closed", cameras=self.clients)
            self.part_fps = self.part_fps or max(1.0, PART * most.ok_fps)
            in_flight = steps.unanswered(self.part_fps, self.load.slo_ms)
            steady = self._step(url, arrivals="poisson", cameras=1, fps=self.part_fps, in_flight=in_flight)
            memory_mib = max((one.memory_mib for one in readings()), default=math.nan)
            return Try(most.ok_fps, steady.latency.p95, memory_mib, most.invalid + steady.invalid)

    def _step(self, url: str, **changes: object) -> Step:
        self.made += 1
        name = f"{self.made:02d}"
        options = replace(self.load, seconds=self.seconds + WARMUP_S, warmup_s=WARMUP_S, seed=self.made, **changes)  # type: ignore[arg-type]
        return steps.run_step(url, StepOptions(name, options, self.folder / STEPS / name), Progress(io.StringIO()))

    @contextmanager
    def _fleet(self, placement: Placement) -> Iterator[str]:
        var = f"--var={self.folder / 'fleet'}"
        with reserved_ports(1 + placement.instances) as port:
            wish = [f"--instances={placement.instances}", f"--cpus-per-instance={placement.own}"]
            wish += [f"--port={port}", f"--instance-port={port + 1}", f"--model={self.model}"]
            # One client makes all the load.
            _deploy("up", var, *wish, "--rate=0", "--concurrency=0", "--connections=0")
            try:
                yield f"http://127.0.0.1:{port}"
            finally:
                _deploy("down", var)


def main(arguments: Sequence[str] | None = None) -> int:
    """Tries every placement, several times in turn; returns the exit code: 0 done, 1 it could not be, 2 usage."""
    options = _parser().parse_args(arguments)
    try:
        tuner = _tuner(options)
        with folder_claim(tuner.folder):
            print(placements_text(_tried(tuner, options.rounds)))
    except OptionError as error:
        print(f"tune: {error}", file=sys.stderr)
        return USAGE
    except LoadTestError as error:
        print(f"tune: {error}", file=sys.stderr)
        return FAILED
    return 0


def _tried(tuner: Tuner, rounds: int) -> list[Tried]:
    each = {placement: list[Try]() for placement in placements(_cpus())}
    minutes = math.ceil(rounds * len(each) * (2 * tuner.seconds + BESIDE_S) / 60)
    _say(f"{len(each)} placements, {rounds} times each: about {minutes} minutes; nothing else should run")
    shutil.rmtree(tuner.folder / STEPS, ignore_errors=True)
    for _ in range(rounds):
        for placement, tries in each.items():
            tries.append(tuner.measure(placement))
            _say(f"{placement}: {tries[-1].fps:.1f} frames/s")
    return [Tried(placement, tries) for placement, tries in each.items()]


def _cpus() -> int:
    return len(os.sched_getaffinity(0))


def _tuner(options: argparse.Namespace) -> Tuner:
    for name, (low, high) in LIMITS.items():
        if not low <= getattr(options, name) <= high:
            raise OptionError(f"--{name}={getattr(options, name):g}: must be from {low} to {high}")
    load = checked(ReplayOptions(**{name: getattr(options, name) for name in SHARED}))
    check_video(load)
    model = options.model or os.environ.get("FRAMEFLEET_MODEL") or str(options.var / "models" / DEFAULT_MODEL)
    clients = options.clients or CLIENTS_PER_CPU * _cpus()
    return Tuner(load, clients, options.seconds, options.var / "tune", model)


def _deploy(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deploy", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RunError(f"the fleet to try did not go {arguments[0]}:\n{done.stdout.rstrip()}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.tune", description=__doc__)
    parser.add_argument("--var", type=Path, default=Path("var"), help="folder for everything (default %(default)s)")
    parser.add_argument(
        "--model", default="", help="path or simulated:... (default: FRAMEFLEET_MODEL, then the default model)"
    )
    parser.add_argument(
        "--seconds", type=float, default=6.0, help="length of a step; two make a try (default %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="tries of each placement (default %(default)s)")
    parser.add_argument(
        "--clients", type=int, default=0, help=f"that wait for answers (default {CLIENTS_PER_CPU} a CPU)"
    )
    defaults = ReplayOptions(max_frames=60)
    for name in SHARED:
        value = getattr(defaults, name)
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=type(value), default=value, help=f"{HELP[name]} (default {value})")
    return parser


def placements(cpus: int) -> tuple[Placement, ...]:
    """What is worth a try on so many CPUs: one instance, one for each CPU, sizes between, and shared CPUs."""
    most = min(cpus, MAX_INSTANCES)
    sizes = sorted({1, *(max(1, most >> halved) for halved in range(MOST_SIZES))})
    own = [Placement(size) for size in sizes]
    shared = [Placement(size, "0") for size in (most, 2 * most) if 1 < size <= MAX_INSTANCES]
    return (*own, *shared)


def best(tried: Iterable[Tried]) -> Tried:
    """The fewest instances that answer as much as any; of as many the faster ones."""
    all_of_them = list(tried)
    enough = AS_GOOD * max(one.fps for one in all_of_them)
    return min((one for one in all_of_them if one.fps >= enough), key=lambda one: (one.placement.instances, -one.fps))


def placements_text(tried: Sequence[Tried]) -> str:
    """A table, and what to write where."""
    lines = [f"{'instances':<26}{'frames/s':>10}{'p95, ms':>10}{'memory, MiB':>13}"]
    for one in tried:
        memory = "-" if math.isnan(one.memory_mib) else f"{one.memory_mib:.0f}"
        lines.append(f"{one.placement!s:<26}{one.fps:>10.1f}{milliseconds(one.p95_ms):>10}{memory:>13}")
    doubts = dict.fromkeys(doubt for one in tried for each in one.tries for doubt in each.doubts)
    lines += [f"not a valid measurement of every placement: {doubt}" for doubt in doubts]
    return "\n".join([*lines, *_advice(best(tried).placement)])


def _advice(placement: Placement) -> Iterable[str]:
    cpus = f" CPUS={placement.own}" if placement.own == "0" else ""
    own = placement.own if placement.own == "0" else f'"{placement.own}"'
    yield f"best here: {placement}"
    yield f"  on this machine: make up INSTANCES={placement.instances}{cpus}"
    yield f"  on a host like it, in fleet.toml below [[hosts]]: cpu = {placement.instances}, cpus_per_instance = {own}"
    if placement.instances == 1:
        yield "  while a lone instance starts again, requests wait: two are safer, if they answer nearly as much"
