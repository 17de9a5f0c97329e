"""How far each way to send a frame moves what is found in it: `python -m bench.encoding_boxes`.

Every twelfth frame of the sample videos, enlarged to 1280 px at least, is detected by the default model from its raw
pixels and from what each encoding leaves of them.
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("bench.encoding_boxes")


from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from bench.encodings import FIRST_PROTOCOL, encodings
from bench.jpeg_scaling import detect
from framefleet.draw import Pixels
from service.pictures.body import decode
from service.pictures.image import ImageLimits
from service.pipeline.boxes import Boxes
from service.pipeline.detector import Detector
from service.settings import Settings

VIDEOS = ("bigbuckbunny.mp4", "bikes.mp4", "carphone_pristine.mp4")
EVERY = 12
SIDE = 1280
LIMITS = ImageLimits(40_000_000, 16_384)


@dataclass(slots=True)
class Moved:
    """Against the raw pixels: px and scores by which boxes differ, and frames with another number of boxes."""

    pixels: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    others: int = 0

    def add(self, raw: Boxes, found: Boxes, scale: float) -> None:
        """Counts one frame; `found` is in px that are `scale` px of the raw frame."""
        if len(raw) != len(found):
            self.others += 1
            return
        self.pixels += np.abs(raw.corners - found.corners * scale).max(axis=1, initial=0).tolist()
        self.scores += np.abs(raw.scores - found.scores).tolist()


def main(arguments: Sequence[str] = ()) -> None:
    """Prints the table."""
    detector = Detector(Settings(deadline_ms=60_000, watchdog_s=600))
    detector.start()
    ways = {name: wire for name, wire in encodings().items() if name != "PNG"}  # which leaves all of them
    moved, frames = {name: Moved() for name in ways}, 0
    for pixels in _frames():
        frames += 1
        raw = detect(detector, decode(ways[FIRST_PROTOCOL].encode(pixels), LIMITS))
        for name, wire in ways.items():
            frame = decode(wire.encode(pixels), LIMITS)
            moved[name].add(raw, detect(detector, frame), pixels.shape[1] / frame.width)
    detector.batcher.stop()
    print(f"{frames} frames; px of {SIDE} and scores: median, p95, most; frames with another number of boxes")
    for name, way in moved.items():
        spread = [f"{value:7.4f}" for part in (way.pixels, way.scores) for value in np.quantile(part, (0.5, 0.95, 1))]
        print(f"  {name:<26} {len(way.pixels):5} boxes {' '.join(spread)} {way.others:5}")


def _frames() -> Iterator[Pixels]:
    for name in VIDEOS:
        video, number = cv2.VideoCapture(str(Path("var/video") / name)), 0
        while (read := video.read())[0]:
            if number % EVERY == 0:
                scale = max(1, SIDE / read[1].shape[1])
                yield cv2.resize(read[1], None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)  # type: ignore[misc]
            number += 1
        video.release()
