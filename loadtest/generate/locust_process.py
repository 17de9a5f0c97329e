"""Starts Locust so that our command line alone decides what it does: no file, no variable, nothing in a path's name."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import framefleet
from framefleet.machine.claim import lineage

LOCUSTFILE = "loadtest/generate/locustfile.py"
PACKAGES = (Path(__file__).parents[1], Path(str(framefleet.__file__)).parent)
STOP_S = 10.0
# For the process we start: who started it, and from where paths on its command line count.
PARENT, FOLDER = "LOADTEST_PARENT", "LOADTEST_FOLDER"
PR_SET_PDEATHSIG = 1


@contextmanager
def locust_process(arguments: Sequence[str], output: BinaryIO | None = None) -> "Iterator[subprocess.Popen[bytes]]":
    """Runs Locust on our locustfile; it is gone when the block is left, or when this process is.

    It starts in a folder that holds our packages and nothing else: it reads `locust.conf` and `pyproject.toml` where it
    starts, `.locust.conf` at home, and takes a comma in a locustfile's path for its end. Once it has read its command
    line it goes to where we are (see `settle`).

    Args:
        arguments: Locust's, without the locustfile; paths of its own options must be absolute.
        output: takes what it prints; None leaves that on the terminal.
    """
    with TemporaryDirectory(prefix="framefleet-load-") as room:
        for package in PACKAGES:
            (Path(room) / package.name).symlink_to(package)
        process = subprocess.Popen(
            [sys.executable, "-E", "-m", "locust", "-f", LOCUSTFILE, *arguments],
            cwd=room,
            env=environment(room, os.environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            yield process
        finally:
            stop(process)


def environment(room: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without settings meant for another Locust or its gevent; home is where it starts."""
    kept = {name: value for name, value in environ.items() if not name.startswith(("LOCUST_", "GEVENT_"))}
    return kept | {"HOME": room, PARENT: str(os.getpid()), FOLDER: str(Path.cwd())}


def settle(environ: Mapping[str, str] = os.environ) -> None:
    """In a Locust that we started: goes to our folder, and binds its life to ours, so that none loads on alone."""
    if FOLDER not in environ:
        return
    os.chdir(environ[FOLDER])
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # It may have ended before. What Locust forks has another parent, but descends from it all the same.
    if int(environ[PARENT]) not in lineage():
        os._exit(1)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Ends Locust, politely at first; one that has ended is left alone."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
