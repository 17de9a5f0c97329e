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
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from bench.peers import report
from bench.peers.environments import InstallError
from bench.peers.plot import to_svg
from bench.peers.report import NoMarkersError
from bench.peers.run import NoPictureError, Options, measure
from bench.peers.server import StartFailedError
from bench.peers.targets import targets
from bench.peers.works import WrongAnswerError
from loadtest.measure.machine import describe

PAGE, PLOT = Path("docs/benchmarks.md"), Path("docs/peers.svg")


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
