"""Measures this service beside its peers: `python -m bench.peers`, what `make bench-peers` runs (under half an hour).

Environments of the peers -> all servers up -> rounds in which each takes its turn -> docs/benchmarks.md, docs/peers.svg
and results.json. A server that answers with the wrong box ends the run.
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("bench.peers.__main__")


import argparse
import os
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from bench.peers import report, roster
from bench.peers.environments import InstallError
from bench.peers.measured import Results
from bench.peers.report import NoMarkersError, to_svg
from bench.peers.rounds import Rounds
from bench.peers.server import Server, Spec, StartFailedError
from bench.peers.targets import targets
from bench.peers.works import LARGE, LARGE_RAW, SMALL, SMALL_RAW, TINY, WORKS, Work, WrongAnswerError, write_body
from framefleet.machine.ports import reserved_ports
from loadtest.measure.machine import describe

VIDEO, FRAME = "video/bigbuckbunny.mp4", 60
MODEL_FILE = "models/centerface-320.onnx"
ACCELERATED = (SMALL, LARGE, SMALL_RAW, LARGE_RAW)
# Of ports in a row: where ours, the peers and the bare route begin.
OURS, PEERS, ROUTE, PORTS = 0, 30, 45, 50


PAGE, PLOT = Path("docs/benchmarks.md"), Path("docs/peers.svg")


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
    section = report.to_markdown(results, specs, targets(results, len(os.sched_getaffinity(0))), when)
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
    page = report.with_section(PAGE.read_text(encoding="utf-8"), section)
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
