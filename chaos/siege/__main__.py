"""`python -m chaos.siege`: a mixed attack and kills at random on a fleet as `deploy up` makes it, beside four cameras.

Flow: rehearsal without cues -> load + attack + kills + watch -> [Siege] -> siege_report, a section of
docs/reliability.md. Exit code 0 only if everything held that is expected.
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("chaos.siege.__main__")


import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from chaos.faults.stage import wait
from chaos.load import Load, make_pictures
from chaos.machine import children_of, parent_of
from chaos.material import DEFAULT_MODEL, DEFAULT_VIDEO, PAGE, circumstances, read_frames
from chaos.rehearsal import ChaosError, Rehearsal, rehearsal
from chaos.report import with_siege
from chaos.siege.attack import CLIENTS, attacked
from chaos.siege.report import TARGETS, Kill, Siege, to_section
from chaos.siege.watch import watched
from framefleet.repeat import repeated

CALM_S, AFTERWARDS_S = 10.0, 15.0
PAUSES_S = (10.0, 20.0)
STRONG_LIMIT_S = 60.0


def besiege(fleet: Rehearsal, frames: Sequence[bytes], options: argparse.Namespace) -> Siege:
    """Attacks a fleet that runs, and kills parts of it, while cameras go on.

    Raises:
        OSError: it does not answer while it is idle.
    """
    kills: list[Kill] = []
    problems: list[str] = []
    load = Load(fleet.url, make_pictures(fleet.url, frames), options.cameras * options.fps)
    with load.running(), watched(fleet.var) as readings:
        time.sleep(CALM_S)
        began = time.monotonic()
        with attacked(fleet.port, options.seed, options.clients) as ended, _killing(fleet, options, kills, problems):
            time.sleep(options.minutes * 60)
        time.sleep(AFTERWARDS_S)
        samples = load.between(began, time.monotonic())
    problems += [f"`down` left {left}" for left in fleet.down()]
    return Siege(
        model=Path(fleet.model).name,
        instances=fleet.count,
        minutes=options.minutes,
        cameras=options.cameras,
        rate=load.rate,
        began=began,
        samples=samples,
        kills=kills,
        readings=readings,
        ended=ended,
        problems=problems,
    )


def _killing(
    fleet: Rehearsal, options: argparse.Namespace, kills: list[Kill], problems: list[str]
) -> AbstractContextManager[None]:
    order = random.Random(options.seed)
    targets = _targets(order)

    def kill_one() -> None:
        # Never before the last one is mended: the next might leave no instance.
        try:
            wait(f"full strength after {kills[-1:] or 'the start'}", fleet.ready, STRONG_LIMIT_S)
        except ChaosError as error:
            problems.append(str(error))
            return
        if (pid := _find(fleet, target := next(targets), order)) > 1:
            kills.append(Kill(time.monotonic(), target))
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            print(f"{time.strftime('%H:%M:%S')}  kill -9: {target}", flush=True)

    return repeated(kill_one, lambda: order.uniform(*PAUSES_S))


def _targets(order: random.Random) -> Iterator[str]:
    """What is killed next, without end: each once before any comes again."""
    while True:
        yield from order.sample(TARGETS, len(TARGETS))


def _find(fleet: Rehearsal, target: str, order: random.Random) -> int:
    """Process id of what is to be killed; 0 if it does not show itself."""
    if target == "nginx master":
        return fleet.pid_of("nginx")
    if target == "nginx worker":
        return order.choice(children_of(fleet.pid_of("nginx")) or (0,))
    worker = fleet.worker(order.choice(fleet.instances))
    return parent_of(worker) if worker and target == "gunicorn master" else worker


def main(arguments: Sequence[str]) -> int:
    """Runs the siege; returns the process's exit code."""
    options = parse(arguments)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="siege-", ignore_cleanup_errors=True) as folder,
            rehearsal(Path(folder), options.model, options.instances, cued=False) as fleet,
        ):
            done = besiege(fleet, read_frames(options.video), options)
    except ChaosError as error:
        print(error, file=sys.stderr)
        return 1
    section = to_section(done, circumstances(options.seed))
    print(section)
    options.out.write_text(with_siege(options.out.read_text() if options.out.exists() else "", section))
    return 0 if done.met else 1


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="python -m chaos.siege", description="A mixed attack, beside cameras.")
    add = parser.add_argument
    add("--model", default=str(DEFAULT_MODEL), help="absolute path or simulated:... (default %(default)s)")
    add("--video", type=Path, default=DEFAULT_VIDEO, help="default %(default)s")
    add("--instances", type=int, default=2, help="default %(default)s")
    add("--cameras", type=int, default=4, help="default %(default)s")
    add("--fps", type=float, default=5.0, help="of each camera (default %(default)s)")
    add("--clients", type=int, default=CLIENTS, help="that attack at once (default %(default)s)")
    add("--minutes", type=float, default=15.0, help="default %(default)s")
    add("--seed", type=int, default=1, help="of everything random (default %(default)s)")
    add("--out", type=Path, default=PAGE, help="the page that gets the section (default %(default)s)")
    return parser.parse_args(arguments)
