"""From raw pixels to boxes over a link of 1 Gbit/s and of 100 Mbit/s: `python -m bench.link`, as root.

Client and instance are in network namespaces of their own, joined by a pair of veth whose rate `tc` limits; a relay
before the instance keeps each byte 1 ms, either way. The namespaces have no name and end with this process, whatever
ends it. Each way to send a frame has its turn in every round, so ratios are those of one run.
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("bench.link")


import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2

from bench.encodings import FIRST_PROTOCOL, encodings
from bench.instance import started
from framefleet.client.sender import Sender
from framefleet.draw import Pixels

VIDEO = Path("var/video/bigbuckbunny.mp4")
SIZES = ((1280, 720), (1920, 1080))
RATES = ("1gbit", "100mbit")
DELAY_S = 0.001
NEAR, FAR = "192.0.2.1", "192.0.2.2"
PORT = 8101
# A burst that hardly shortens a frame's way, and as much as the kernel hands over at once; what waits is never dropped.
SHAPED = ("burst", "128kb", "limit", "16mb")


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a table for each size and rate."""
    parser = argparse.ArgumentParser(prog="python -m bench.link", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="frames sent each way (default %(default)s)")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if os.geteuid():
        raise SystemExit("the link is made of network namespaces: run it as root")
    if not options.inside:
        this = [sys.executable, "-m", "bench.link", "--inside", "--rounds", str(options.rounds)]
        os.execvp("unshare", ["unshare", "--net", *this])
    with _far_side() as far, _instance(far) as url:
        for rate in RATES:
            for device, prefix in (("near", []), ("far", far)):
                _do(*prefix, "tc", "qdisc", "replace", "dev", device, "root", "tbf", "rate", rate, *SHAPED)
            for width, height in SIZES:
                taken_ms = latencies_ms(url, _frame(width, height), options.rounds)
                print(f"{width}x{height}, {rate}/s, 1 ms each way", *rows(taken_ms), sep="\n", flush=True)


def latencies_ms(url: str, frame: Pixels, rounds: int) -> dict[str, list[float]]:
    """Sends a frame each way in turn.

    Args:
        url: the instance.
        frame: what is sent.
        rounds: how often.

    Returns:
        Milliseconds from the pixels to the boxes, by the way's name.
    """
    senders = {name: Sender(url, wire) for name, wire in encodings().items()}
    taken: dict[str, list[float]] = {name: [] for name in senders}
    for number in range(rounds + 1):
        for name, sender in senders.items():
            began = time.perf_counter()
            sender.send(frame)
            if number:  # the first one connects
                taken[name].append((time.perf_counter() - began) * 1000)
    return taken


def rows(taken_ms: dict[str, list[float]]) -> list[str]:
    """The table of one size and rate: median and p95 in ms, and both over the first protocol's."""
    of_first = _median_and_p95(taken_ms[FIRST_PROTOCOL])
    lines = []
    for name, times in taken_ms.items():
        found = _median_and_p95(times)
        ratios = " ".join(f"{here / there:8.3f}" for here, there in zip(found, of_first, strict=True))
        lines.append(f"  {name:<26} {found[0]:8.1f} {found[1]:8.1f} ms {ratios}")
    return lines


def _median_and_p95(times: Sequence[float]) -> tuple[float, float]:
    return statistics.median(times), sorted(times)[int(len(times) * 0.95)]


@contextmanager
def _far_side() -> Iterator[list[str]]:
    """Joins this namespace to another one; yields what goes before a command to be run there."""
    holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec cat"], stdin=-1, stdout=-1)
    try:
        assert holder.stdout
        holder.stdout.readline()
        far = ["nsenter", f"--net=/proc/{holder.pid}/ns/net"]
        _do("ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", str(holder.pid))
        for device, address, prefix in (("near", NEAR, []), ("far", FAR, far)):
            _do(*prefix, "ip", "address", "add", f"{address}/30", "dev", device)
            _do(*prefix, "ip", "link", "set", device, "up")
            _do(*prefix, "ip", "link", "set", "lo", "up")
        yield far
    finally:
        holder.communicate()  # closes its input, which ends it, and with it the namespace


@contextmanager
def _instance(far: Sequence[str]) -> Iterator[str]:
    relay = [*far, sys.executable, "-m", "bench.delay", f"{FAR}:{PORT}", f"127.0.0.1:{PORT}", str(DELAY_S)]
    environment = {"FRAMEFLEET_MODEL": "simulated:", "FRAMEFLEET_PORT": str(PORT), "FRAMEFLEET_INSTANCE": "far"}
    url = f"http://{FAR}:{PORT}"
    with subprocess.Popen(relay, stderr=subprocess.DEVNULL) as process:
        try:
            with started([*far, sys.executable, "-m", "service"], url, environment):
                yield url
        finally:
            process.terminate()


def _frame(width: int, height: int) -> Pixels:
    video = cv2.VideoCapture(str(VIDEO))
    for _ in range(60):  # the first ones are dark
        read, frame = video.read()
    video.release()
    if not read:
        raise SystemExit(f"{VIDEO}: not 60 frames in it; run `make setup`")
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC)  # type: ignore[return-value]


def _do(*command: str) -> None:
    subprocess.run(command, check=True)
