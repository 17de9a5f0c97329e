"""`python -m loadtest capacity`: a sweep against a service -> capacity.json, a page, ten lines on the terminal.

`timeline`: a run during which instances were killed, made elsewhere, as a panel of the page: folder -> [Timeline].

`Known`, `demand_usable`: what was measured before and is used again: files -> [Known].
"""

import argparse
import sys
from dataclasses import dataclass, fields
from pathlib import Path

from loadtest.capacity import answer, gate, page, records
from loadtest.capacity.assemble import SweepFindings, assemble, demand_same
from loadtest.capacity.gate import Comparison
from loadtest.capacity.measure import SweepBench, read_cpu_s
from loadtest.capacity.records import Capacity, Provenance, Timeline
from loadtest.capacity.reduction import per_second
from loadtest.capacity.row import Row
from loadtest.capacity.sweep import Sweep, SweepOptions
from loadtest.errors import OptionError, RunError
from loadtest.generate import steps
from loadtest.generate.master_address import checked_bind
from loadtest.generate.prepare import check_video
from loadtest.measure import run_folder, sample_files
from loadtest.measure.machine import revision
from loadtest.measure.provenance import right_means
from loadtest.measure.run_folder import RunRecord
from loadtest.options import HELP, MOST_FPS, ReplayOptions, add_address, asked_url, checked, checked_processes
from loadtest.target import certificate
from loadtest.target.claim import folder_claim, target_claim
from loadtest.target.target import Target

PASSED, WORSE = 0, 1
STEPS = "steps"
MAX_FRAMES = 60
SECONDS = 6.0
# Beyond them a sweep would never end, or has nothing to say.
LIMITS: dict[str, tuple[float, float]] = {
    "seconds": (1, 86_400),
    "overload_s": (1, 86_400),
    "start_fps": (0.01, MOST_FPS),
    "most_fps": (0.01, MOST_FPS),
    "repetitions": (1, 1000),
}
MOST_SHOWN = 24
# Of a replay's options these make sense here; rate, length and schedule are the sweep's own.
SHARED = (
    *("video", "seed", "slo_ms", "route", "payload", "wait_s"),
    *("quality", "width", "every", "max_frames", "box_px", "score_tolerance", "threshold"),
)


@dataclass(frozen=True, slots=True)
class Known:
    """What was measured before.

    Attributes:
        others: fleets of other sizes, for the scaling.
        timelines: what came of failures.
        baseline: what to compare with.
    """

    others: tuple[Capacity, ...]
    timelines: tuple[Timeline, ...]
    baseline: Capacity | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the verb."""
    sweep = SweepOptions()
    add_address(parser)
    parser.add_argument("--out", type=Path, default=Path("var/capacity"), help="folder (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="length of a step (default %(default)s)")
    parser.add_argument("--start-fps", type=float, default=sweep.start_fps, help="first rate (default %(default)s)")
    parser.add_argument("--most-fps", type=float, default=sweep.most_fps, help="highest rate (default %(default)s)")
    parser.add_argument(
        "--repetitions", type=int, default=sweep.repetitions, help="of the rate that was found (default %(default)s)"
    )
    parser.add_argument("--overload-s", type=float, default=sweep.overload_s, help="of overload (default %(default)s)")
    parser.add_argument("--chaos", type=Path, help="folder of a step during which instances were killed, to show too")
    parser.add_argument("--processes", type=int, default=1, help="that make the load (default %(default)s)")
    parser.add_argument("--bind", default="", help="ADDRESS:PORT: wait there for so many workers of other machines")
    parser.add_argument("--resume", action="store_true", help="keep the steps that an interrupted sweep made")
    parser.add_argument("--baseline", type=Path, help="capacity.json to compare with; a certain loss over 5 %% fails")
    parser.add_argument(
        "--with", dest="others", nargs="*", type=Path, default=[], metavar="FILE", help="of fleets of other sizes"
    )
    certificate.add_argument(parser)
    defaults = ReplayOptions(max_frames=MAX_FRAMES)
    for name in SHARED:
        value = getattr(defaults, name)
        parser.add_argument(
            "--" + name.replace("_", "-"), type=type(value), default=value, help=f"{HELP[name]} (default {value})"
        )


def run(namespace: argparse.Namespace) -> int:
    """Measures, writes, prints.

    Raises:
        LoadTestError: it could not be measured.
    """
    options, known, bench = _sweep_options(namespace), _known(namespace), _bench(namespace)
    with folder_claim(namespace.out), target_claim(bench.url):
        return _run(namespace, bench, options, known)


def _run(namespace: argparse.Namespace, bench: SweepBench, options: SweepOptions, known: Known) -> int:
    demand_usable(known, bench)
    found = measure(bench, options, known, resume=namespace.resume)
    # Before anything is compared: should the fleet have changed meanwhile, that must not cost the measurement.
    written = write(found, namespace.out)
    print(answer.render(found))
    if warning := bench.proof.warning:
        print(f"warning: {warning}")
    code = PASSED
    if known.baseline:
        comparison = gate.compare(found, known.baseline)
        write(found, namespace.out, comparison)
        print(f"{'baseline':<12}{'FAILED: ' if comparison.failed else ''}{comparison.text}")
        code = WORSE if comparison.failed else PASSED
    print(f"report: {written}")
    return code


def measure(bench: SweepBench, options: SweepOptions, known: Known, *, resume: bool) -> Capacity:
    """Makes the sweep and puts together what it found."""
    bench.prepare(resume)
    sweep = Sweep(bench.measure, options)
    sweep.run()
    findings = SweepFindings(
        slo_ms=bench.base.slo_ms,
        rows=tuple(sweep.rows),
        verified_fps=sweep.verified_fps,
        repetitions=options.repetitions,
        batch=bench.batch_fit(),
        cpu_ms=bench.cpu_ms,
        timelines=known.timelines,
        provenance=_provenance(bench, options.seed),
    )
    return assemble(findings, known.others)


def write(found: Capacity, folder: Path, comparison: Comparison | None = None) -> Path:
    """Writes capacity.json and the page; returns the page's path.

    Raises:
        RunError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        run_folder.write(found, folder / records.FILE)
        path = folder / records.PAGE
        path.write_text(page.render(found, comparison), encoding="utf-8")
    except PermissionError:  # whose it is, is said where every command ends
        raise
    except OSError as error:
        raise RunError(f"{folder}: {error.strerror}; give another folder with --out") from None
    return path


def _bench(namespace: argparse.Namespace) -> SweepBench:
    processes = checked_processes(namespace.processes)
    given = {name: getattr(namespace, name) for name in SHARED}
    base = checked(ReplayOptions(**given))
    _demand_within("seconds", namespace.seconds)
    check_video(base)
    return SweepBench(
        url=asked_url(namespace),
        base=base,
        folder=namespace.out / STEPS,
        processes=processes,
        bind=checked_bind(namespace.bind),
        seconds=namespace.seconds,
        say=_say,
    )


def _known(namespace: argparse.Namespace) -> Known:
    return Known(
        others=tuple(records.read(path) for path in namespace.others),
        timelines=(timeline(namespace.chaos),) if namespace.chaos else (),
        baseline=records.read(namespace.baseline) if namespace.baseline else None,
    )


def _sweep_options(namespace: argparse.Namespace) -> SweepOptions:
    names = {field.name for field in fields(SweepOptions)} & set(vars(namespace))
    options = SweepOptions(**{name: getattr(namespace, name) for name in names})
    for name in ("overload_s", "start_fps", "most_fps", "repetitions"):
        _demand_within(name, getattr(options, name))
    if options.start_fps > options.most_fps:
        raise OptionError(f"--start-fps={options.start_fps:g}: must not be above --most-fps={options.most_fps:g}")
    return options


def _demand_within(name: str, value: float) -> None:
    low, high = LIMITS[name]
    if not low <= value <= high:
        flag = "--" + name.replace("_", "-")
        raise OptionError(f"{flag}={str(value)[:MOST_SHOWN]}: must be from {low:,} to {high:,}")


def _provenance(bench: SweepBench, seed: int) -> Provenance:
    record = bench.record
    if record is None:
        raise RunError(f"{bench.folder}: no step was made")
    return Provenance(
        url=bench.url,
        route=bench.base.path,
        started=record.started,
        revision=revision(),
        video=bench.base.video,
        frame=f"{record.frame_width}x{record.frame_height}, {bench.base.payload}, quality {bench.base.quality}"
        + (f", {record.frames_lost} damaged ones left out" if record.frames_lost else ""),
        request_bytes=record.frame_bytes,
        response_bytes=bench.response_bytes,
        seed=seed,
        machine=record.machine,
        versions=record.versions,
        status=record.status,
        right=right_means(bench.base),
        detecting=bench.proof.share,
    )


def _say(row: Row) -> None:
    slow = f"p95 {row.times.p95_ms:.1f} ms, " if row.times else ""
    doubt = f" (not valid: {'; '.join(row.doubts)})" if row.doubts else ""
    print(
        f"{row.kind:<9}{row.asked_fps:>9.1f} frames/s: {slow}{row.in_time:.1%} in time{doubt}",
        file=sys.stderr,
        flush=True,
    )


def timeline(folder: Path) -> Timeline:
    """What became of the frames, second by second.

    Raises:
        RunError: it is no folder of a step.
    """
    step = steps.read_step(folder, folder.name)
    options = run_folder.read(folder / run_folder.RUN, RunRecord).options
    offered, in_time = per_second(sample_files.read(folder), step.slo_ms, options.warmup_s, step.seconds)
    counts = step.counts
    text = (
        f"Of {counts.offered} frames at {step.asked_fps:.1f} frames/s {counts.ok} were answered as without load, "
        f"{counts.late} of them late; {counts.shed} were refused with 503, {counts.failed + counts.missing} failed"
    )
    return Timeline("Failures: instances are killed", text, offered, in_time, ())


def demand_usable(known: Known, bench: SweepBench) -> None:
    """Makes sure, before minutes are spent, that earlier measurements can be used with this service.

    Raises:
        TargetError: nothing answers.
        OptionError: one is of another model, engine, SLO or size of fleet.
    """
    with Target(bench.url, bench.base.wait_s) as target:
        target.check_ready()
        status, instances = target.status(), len(read_cpu_s(target.get)) if known.baseline else 0
    for other in known.others:
        demand_same(bench.base.slo_ms, status, other)
    if known.baseline:
        gate.demand_comparable(bench.base.slo_ms, status, instances, known.baseline)
