"""Predicts the capacity of 4 instances from those of 1 and 2, and measures it: `python -m bench.scaling` (25 minutes).

The instances are stand-in accelerators behind nginx, slow enough that this machine's CPU is not what is measured.
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("bench.scaling")


import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from loadtest.capacity import fits, records
from loadtest.capacity.fits import ScalePoint
from loadtest.capacity.records import Capacity

# 190 ms for a full batch of 4: about 21 frames/s an instance.
MODEL, MAX_BATCH = "simulated:a_ms=150,b_ms=10", 4
SLO_MS = 600
MEASURED, PREDICTED = (1, 2), 4
PORT = 28580


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures the three fleets, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("var/scaling"), help="folder (default %(default)s)")
    parser.add_argument("--slo-ms", type=float, default=SLO_MS, help="limit of the p95 (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=15, help="length of a step (default %(default)s)")
    options = parser.parse_args(arguments)
    found = {n: measure(n, options) for n in (*MEASURED, PREDICTED)}
    law = fits.fit_scaling([ScalePoint(n, found[n].slo.estimate) for n in MEASURED])
    predicted, measured = law.fps(PREDICTED), found[PREDICTED].slo
    for n, one in found.items():
        print(f"{n} instances: {one.slo.estimate:.1f} frames/s ({one.slo.low:.1f} to {one.slo.high:.1f})")
    print(f"predicted for {PREDICTED}: {predicted:.1f}, measured {measured.estimate:.1f}", end=" ")
    print(f"({predicted / measured.estimate - 1:+.1%}; within 10 % wanted)")


def measure(instances: int, options: argparse.Namespace) -> Capacity:
    """Runs a fleet of so many instances and finds what it holds."""
    folder = options.out / str(instances)
    capacity = ["-m", "loadtest", "capacity", "--url", f"http://127.0.0.1:{PORT}", "--out", str(folder)]
    capacity += ["--slo-ms", str(options.slo_ms), "--seconds", str(options.seconds)]
    fleet = ["-m", "deploy", "exec", "--var", str(options.out / "var"), "--instances", str(instances)]
    fleet += ["--port", str(PORT), "--instance-port", str(PORT + 1), "--model", MODEL]
    environment = os.environ | {"FRAMEFLEET_MAX_BATCH": str(MAX_BATCH)}
    subprocess.run([sys.executable, *fleet, "--", sys.executable, *capacity], env=environment, check=True)
    return records.read(folder)
