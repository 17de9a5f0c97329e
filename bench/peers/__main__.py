"""Measures this service beside its peers: `python -m bench.peers`, what `make bench-peers` runs (under half an hour).

Environments of the peers -> all servers up -> rounds in which each takes its turn -> docs/benchmarks.md, docs/peers.svg
and results.json. A server that answers with the wrong box ends the run.

`to_svg`: draws CPU time a request of every server as an SVG, for README.

The report: writes a run into docs/benchmarks.md, between markers; nothing is measured here.

`measure`: one run: the peers installed, every server up, the rounds, the report.
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("bench.peers.__main__")


import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from io import StringIO
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import numpy.typing as npt

from bench.peers import roster
from bench.peers.environments import InstallError
from bench.peers.measured import Life, Results
from bench.peers.roster import A_MS, B_MS, FLASK, FLEET, LEFT_OUT, ONE
from bench.peers.rounds import LOAD_SHARE, MIXED_TURNS, Rounds
from bench.peers.server import Server, Spec, StartFailedError
from bench.peers.targets import Target, queue_tail, targets
from bench.peers.works import LARGE, LARGE_RAW, SMALL, SMALL_RAW, TINY, WORKS, Work, WrongAnswerError, write_body
from framefleet.machine.ports import reserved_ports
from loadtest.measure.machine import describe

PANELS = (TINY, SMALL, LARGE, SMALL_RAW)
OUR_COLOUR, OTHERS, FLOOR = "#1f77b4", "#b0b0b0", "#2ca02c"
BEGIN, END = "<!-- bench-peers: begin -->", "<!-- bench-peers: end -->"
BARE = "bare decode + letterbox"


VIDEO, FRAME = "video/bigbuckbunny.mp4", 60
MODEL_FILE = "models/centerface-320.onnx"
ACCELERATED = (SMALL, LARGE, SMALL_RAW, LARGE_RAW)
# Of ports in a row: where ours, the peers and the bare route begin.
OURS, PEERS, ROUTE, PORTS = 0, 30, 45, 50
PAGE, PLOT = Path("docs/benchmarks.md"), Path("docs/peers.svg")


class NoMarkersError(Exception):
    """The page has no place for the section."""


class NoPictureError(Exception):
    """There is no video to take a picture from."""


@dataclass(frozen=True, slots=True)
class Options:
    """How many `rounds` of how many `seconds`, below which `var`, and which `servers` by a part of their names."""

    rounds: int
    seconds: float
    var: Path
    servers: Sequence[str] = ()

    def wants(self, name: str) -> bool:
        """True if that server takes part."""
        return not self.servers or any(part.lower() in name.lower() for part in self.servers)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures everything, or the servers that are named; returns the process's exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each server at each work (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.5, help="length of a turn (default %(default)s)")
    parser.add_argument("--var", type=Path, default=Path("var"), help="models, video, environments (default ./var)")
    parser.add_argument("--servers", nargs="*", default=[], help="these alone, each by a part of its name")
    parser.add_argument("--out", type=Path, help="folder for page and plot (default: docs)")
    given = parser.parse_args(arguments)
    options = Options(given.rounds, given.seconds, given.var.absolute(), given.servers)
    began = time.monotonic()
    try:
        results, specs = measure(options)
    except (InstallError, NoPictureError, StartFailedError, WrongAnswerError) as error:
        raise SystemExit(f"bench-peers: {error}") from None
    when = f"{date.today()}, {describe()}, Python {platform.python_version()}; {options.rounds} rounds of "
    when += f"{options.seconds:g} s, {(time.monotonic() - began) / 60:.0f} minutes in all."
    section = to_markdown(results, specs, targets(results, len(os.sched_getaffinity(0))), when)
    results.write(options.var / "peers" / "results.json")
    print(section)
    try:
        _write(section, to_svg(results), given.out)
    except NoMarkersError as error:
        raise SystemExit(f"bench-peers: {error}") from None
    return 0


def _write(section: str, plot: str, out: Path | None) -> None:
    if out:
        out.mkdir(parents=True, exist_ok=True)
    page = with_section(PAGE.read_text(encoding="utf-8"), section)
    for path, text in ((PAGE, page), (PLOT, plot)):
        (out / path.name if out else path).write_text(text, encoding="utf-8")


def measure(options: Options) -> tuple[Results, list[Spec]]:
    """Every work on every server; returns what was measured and who took part.

    Raises:
        InstallError: a peer could not be installed.
        NoPictureError: there is no sample video.
        StartFailedError: a server did not come up.
        WrongAnswerError: one answers with another box than all have to find.
    """
    logs = options.var / "peers" / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    # A short path: Ray puts sockets below it, whose paths may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="peers-") as scratch, reserved_ports(PORTS) as port:
        folder, source = Path(scratch), _picture(options.var / VIDEO)
        rounds = Rounds(options.rounds, options.seconds, {work: write_body(work, source, folder) for work in WORKS})
        accelerated = _specs(options, folder, port, accelerated=True)
        with _running(accelerated, SMALL, rounds, logs) as servers:
            _accelerated(rounds, servers)
        route = [roster.flask_route(port + ROUTE)] if options.wants(roster.FLASK) else []
        tiny = [spec for spec in _specs(options, folder, port, accelerated=False) if spec.takes(TINY)] + route
        with _running(tiny, TINY, rounds, logs) as servers:
            rounds.closed(TINY, servers)
        model = options.var / MODEL_FILE
        fleet = roster.fleet(roster.MODEL_FLEET, folder / "model", port, str(model.absolute()), checked=False)
        fleets = [fleet] if options.wants(roster.MODEL_FLEET) else []
        with _running(fleets, SMALL, rounds, logs) as servers:
            for server in servers:
                rounds.model(server, SMALL, model)
        return rounds.results, accelerated + fleets + route


def _accelerated(rounds: Rounds, servers: Sequence[Server]) -> None:
    rounds.idle(servers)
    for work in ACCELERATED:
        rounds.closed(work, [server for server in servers if server.spec.takes(work)], with_bare=not work.raw)
    print("random moments, mixed sizes, kills", flush=True)
    rounds.poisson(SMALL, [server for server in servers if server.spec.takes(SMALL)])
    rounds.memory(ACCELERATED, servers)
    # Last: some do not come back.
    for server in servers:
        rounds.kill(SMALL if server.spec.takes(SMALL) else SMALL_RAW, server)


def _specs(options: Options, folder: Path, port: int, *, accelerated: bool) -> list[Spec]:
    ours = [spec for spec in roster.ours(folder, port + OURS, accelerated=accelerated) if options.wants(spec.name)]
    environments = options.var / "peers" / "environments"
    peers = [name for name in (roster.FIRST, *roster.PEERS) if options.wants(name)]
    return ours + roster.peers(peers, folder, port + PEERS, environments, accelerated=accelerated)


@contextmanager
def _running(specs: Sequence[Spec], work: Work, rounds: Rounds, logs: Path) -> Iterator[list[Server]]:
    """One after the other, so that the time each takes to start is its own; all of them end with the `with`."""
    with ExitStack() as stack:
        servers = []
        for spec in specs:
            server = Server(spec, logs / f"{spec.name.replace(' ', '-').replace(',', '')}.log")
            server.log.unlink(missing_ok=True)
            stack.callback(server.stop)
            rounds.start(server, work if spec.takes(work) else SMALL_RAW)
            servers.append(server)
            print(f"{spec.name}: up in {server.start_s:.1f} s", flush=True)
        yield servers


def _picture(video: Path) -> npt.NDArray[np.uint8]:
    capture = cv2.VideoCapture(str(video))
    for _ in range(FRAME):
        found, picture = capture.read()
        if not found:
            raise NoPictureError(f"{video}: no sample video; run `make setup`")
    return np.asarray(picture, np.uint8)


def with_section(page: str, section: str) -> str:
    """Puts the section between a page's markers.

    Raises:
        NoMarkersError: it does not have both, in their order.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise NoMarkersError(f"docs/benchmarks.md: {BEGIN} and {END} are missing; put them where the table belongs")
    return f"{before}{BEGIN}\n{section}\n{END}{after}"


def to_markdown(results: Results, specs: Sequence[Spec], aims: Sequence[Target], when: str) -> str:
    """The whole section: machine and date, the tables, the targets, the set-ups."""
    closed = f"{WORKS[1].connections} clients ({WORKS[-1].connections} for JSON)"
    return "\n".join(
        [
            f"## Beside its peers\n\n{when}\n\n![CPU ms a request](peers.svg)\n",
            f"The accelerator is simulated, {A_MS:g} ms + {B_MS:g} ms a frame, one for all processes of a server;",
            f"input 640. Closed loops of {closed}, all servers in turn within each round,",
            "medians of the rounds. CPU is the kernel's account of all processes of a server, balancers, helpers and",
            "ended ones too.\n",
            "**CPU ms a request**\n",
            *_by_work(results, specs, results.cpu_ms, "{:.2f}", with_bare=True),
            "\n**Answers a second at saturation**\n",
            *_by_work(results, specs, results.rate, "{:.0f}", with_bare=False),
            f"\n**Beside the requests.** Latency of a {SMALL.name}: p50 and p99 in ms at saturation, p99 over",
            f"p50 there and at {LOAD_SHARE:.0%} of the peak in Poisson arrivals (an M/D/1 queue has",
            f"{queue_tail(LOAD_SHARE):.2f}); start to the first answer; MB (proportional) after a turn of mixed",
            f"sizes (the default model: of one), and after {MIXED_TURNS} turns more; cores taken while nobody asks; s",
            "from kill -9 of the busiest process until rate and instances are back, and requests lost by it (what a",
            "client tries again, every 20 ms, counts once).\n",
            *_lives(results, specs),
            "\n**Targets**\n",
            *_targets(aims),
            "\n**Who, and how set up**\n",
            *_table(
                ("server", "version", "set-up"), [(spec.name, spec.version or "this one", spec.setup) for spec in specs]
            ),
            "\n**Left out**\n",
            *(f"- {name}: {why}" for name, why in LEFT_OUT.items()),
        ]
    )


def _by_work(
    results: Results, specs: Sequence[Spec], of: Callable[[str, str], float], shape: str, *, with_bare: bool
) -> Iterable[str]:
    works = [work for work in results.turns if any(results.turns[work].values())]
    rows = [
        (spec.name, *(shape.format(of(work, spec.name)) if spec.name in results.turns[work] else "-" for work in works))
        for spec in specs
        if any(spec.name in results.turns[work] for work in works)
    ]
    if with_bare:
        cells = (shape.format(results.bare(work)) if work in results.bare_ms else "-" for work in works)
        rows.append((BARE, *cells))
    return _table(("server", *works), rows)


def _lives(results: Results, specs: Sequence[Spec]) -> Iterable[str]:
    head = ("server", "p50", "p99", "p99/p50", "Poisson p99/p50", "start, s", "MB", "MB, later", "idle cores")
    rows = []
    for spec in specs:
        if (life := results.lives.get(spec.name)) is None:
            continue
        turns = results.turns.get(SMALL.name, {}).get(spec.name, [])
        tail = [turn.p99_ms / turn.p50_ms for turn in results.poisson.get(spec.name, [])]
        rows.append(
            (
                spec.name,
                f"{median(turn.p50_ms for turn in turns):.1f}" if turns else "-",
                f"{median(turn.p99_ms for turn in turns):.1f}" if turns else "-",
                f"{results.tail(SMALL.name, spec.name):.2f}" if turns else "-",
                f"{median(tail):.2f}" if tail else "-",
                f"{life.start_s:.1f}",
                f"{life.loaded_mb:.0f}" if life.loaded_mb else "-",
                f"{life.mixed_mb:.0f}" if life.mixed_mb else "-",
                f"{life.idle_cores:.3f}",
                *_killed(life),
            )
        )
    return _table((*head, "strong again, s", "lost"), rows)


def _killed(life: Life) -> tuple[str, str]:
    if not life.killed:
        return "-", "-"
    return ("never" if life.strong_s is None else f"{life.strong_s:.2f}"), str(life.kill_lost)


def _targets(aims: Sequence[Target]) -> Iterable[str]:
    rows = (
        (
            aim.measure,
            f"{aim.value:.2f}",
            f"{'>=' if aim.least else '<='} {aim.limit:g}",
            "met" if aim.met else "**missed**",
        )
        for aim in aims
    )
    return _table(("measure", "this run", "target", ""), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def to_svg(results: Results) -> str:
    """One panel a work, one bar a server; the same results give the same text."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    panels = [(work, _bars(results, work)) for work in PANELS if work.name in results.turns]
    with matplotlib.rc_context({"svg.hashsalt": "framefleet", "font.size": 8}):
        figure, axes = pyplot.subplots(1, len(panels), figsize=(3.4 * len(panels), 2.6), squeeze=False)
        for axis, (work, bars) in zip(axes[0], panels, strict=True):
            names = [name for name, _ in bars]
            drawn = axis.barh(names, [value for _, value in bars], color=[_colour(name) for name in names])
            axis.bar_label(drawn, fmt="%.2f", padding=2)
            axis.set_title(f"CPU ms: {work.name}")
            axis.margins(x=0.18)
            axis.invert_yaxis()
            axis.spines[["top", "right"]].set_visible(False)
        figure.tight_layout()
        text = StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
        pyplot.close(figure)
    return text.getvalue()


def _bars(results: Results, work: Work) -> list[tuple[str, float]]:
    bars = [(server, results.cpu_ms(work.name, server)) for server in results.turns[work.name] if server != FLASK]
    if work.name in results.bare_ms:
        bars.append((BARE, results.bare(work.name)))
    return sorted(bars, key=lambda bar: bar[1])


def _colour(name: str) -> str:
    return OUR_COLOUR if name in (ONE, FLEET) else FLOOR if name == BARE else OTHERS
