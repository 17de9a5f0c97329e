"""The same work without a server, on every core at once: decode and letterbox, or the default model.

A program of its own a core, so that no lock of the interpreter is shared: `python -m bench.peers.bare decode FILE S`
or `... model FILE S MODEL`. Each prints pictures, CPU s and wall s.
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("bench.peers.bare")


import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from bench.peers.works import SIDE

ROOT = Path(__file__).resolve().parents[2]
PADDING_VALUE = 128


@dataclass(frozen=True, slots=True)
class Bare:
    """What it takes: CPU `cpu_ms` a picture, and pictures a `second` of all cores together."""

    cpu_ms: float
    rate: float


def measure(what: str, body: Path, seconds: float, cores: int, model: Path | None = None) -> Bare:
    """Does `what` (`decode` or `model`) with one picture file over and over, on so many cores."""
    command = [
        sys.executable,
        "-m",
        "bench.peers.bare",
        what,
        str(body),
        str(seconds),
        *([str(model)] if model else []),
    ]
    started = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(cores)]
    rows = [[float(word) for word in process.communicate()[0].split()] for process in started]
    if any(process.returncode for process in started):
        raise RuntimeError(f"{' '.join(command)} failed")
    pictures, cpu_s = sum(row[0] for row in rows), sum(row[1] for row in rows)
    return Bare(cpu_s * 1000 / pictures, sum(row[0] / row[2] for row in rows))


class Prepared:
    """Decodes JPEGs of one size and letterboxes them, all into the same memory."""

    def __init__(self, body: bytes, side: int) -> None:
        height, width = simplejpeg.decode_jpeg_header(body)[:2]
        self._body, scale = body, min(side / width, side / height)
        self._inner = int(width * scale), int(height * scale)
        self._pixels = np.empty((height, width, 3), np.uint8)
        self.slot = np.full((side, side, 3), PADDING_VALUE, np.uint8)
        left, top = (side - self._inner[0]) // 2, (side - self._inner[1]) // 2
        self._inside = self.slot[top : top + self._inner[1], left : left + self._inner[0]]

    def again(self) -> None:
        """Does it once; the letterboxed picture is in `slot`, uint8 [side, side, 3], BGR."""
        simplejpeg.decode_jpeg(self._body, "BGR", buffer=self._pixels)
        cv2.resize(self._pixels, self._inner, dst=self._inside, interpolation=cv2.INTER_LINEAR)


def main(arguments: Sequence[str]) -> None:
    """Does it for so long, and prints the figures."""
    what, body, seconds, *model = arguments
    cv2.setNumThreads(1)
    step = _decoding(Path(body)) if what == "decode" else _detecting(Path(*model))
    step()
    pictures, wall, cpu = 0, time.monotonic(), time.process_time()
    while (took := time.monotonic() - wall) < float(seconds):
        step()
        pictures += 1
    print(pictures, time.process_time() - cpu, took)


def _decoding(body: Path) -> Callable[[], object]:
    return Prepared(body.read_bytes(), SIDE).again


def _detecting(model: Path) -> Callable[[], object]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (asked,) = session.get_inputs()
    kinds = {"tensor(uint8)": np.uint8, "tensor(float16)": np.float16}
    shape = [size if isinstance(size, int) else 1 for size in asked.shape]
    frames = np.zeros(shape, kinds.get(asked.type, np.float32))
    return lambda: session.run(None, {asked.name: frames})
