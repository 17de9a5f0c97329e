"""What scaled JPEG decoding saves, and how far it moves boxes: `python -m bench.jpeg_scaling`.

The sample video is enlarged to 1408x1152, so that there is something to scale down; its frames are decoded whole and
scaled, in turn, and detected by the default model.
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("bench.jpeg_scaling")


import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from service.pictures.body import decode
from service.pictures.image import Frame, ImageLimits, Letterbox, letterbox
from service.pipeline.batcher import Inferred
from service.pipeline.boxes import Boxes, Selection, select, unletterbox
from service.pipeline.detector import Detector
from service.settings import Settings

ENLARGE = 8
EVERY = 4
SELECTION = Selection(conf=0.35, iou=0.4)


def main(arguments: Sequence[str] = ()) -> None:
    """Prints the table."""
    detector = Detector(Settings(deadline_ms=60_000, watchdog_s=600))
    detector.start()
    whole = ImageLimits(40_000_000, 16_384)
    scaled = ImageLimits(40_000_000, 16_384, shrink_to=detector.batcher.info.input_size)
    times: dict[str, list[float]] = {"whole": [], "scaled": []}
    shifts, scores, unmatched = [], [], 0
    for body in _bodies(Path("var/video/carphone_pristine.mp4")):
        found = {}
        for name, limits in (("whole", whole), ("scaled", scaled)):
            began = time.process_time()
            frame = decode(body, limits)
            times[name].append((time.process_time() - began) * 1000)
            found[name] = detect(detector, frame)
        if len(found["whole"]) != len(found["scaled"]):
            unmatched += 1
            continue
        # In pixels of the picture; its long side is 1408.
        shifts += np.abs(found["whole"].corners - found["scaled"].corners).max(axis=1).tolist()
        scores += np.abs(found["whole"].scores - found["scaled"].scores).tolist()
    detector.batcher.stop()
    whole_ms, scaled_ms = np.median(times["whole"]), np.median(times["scaled"])
    print(
        f"frames {len(times['whole'])}, boxes compared {len(shifts)}, frames with another number of boxes {unmatched}"
    )
    print(f"decoding, CPU time scaled / whole   {scaled_ms / whole_ms:.2f}   ({scaled_ms:.1f} / {whole_ms:.1f} ms)")
    side = ENLARGE * 176
    print(f"corners move, of {side} px          {np.median(shifts):.1f} px at the median, {max(shifts):.1f} at most")
    print(f"scores change by                    {np.median(scores):.4f} at the median, {max(scores):.4f} at most")


def _bodies(video: Path) -> list[bytes]:
    capture = cv2.VideoCapture(str(video))
    bodies, number = [], 0
    while (read := capture.read())[0]:
        if number % EVERY == 0:
            large = cv2.resize(read[1], None, fx=ENLARGE, fy=ENLARGE, interpolation=cv2.INTER_CUBIC)
            bodies.append(cv2.imencode(".jpg", large, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
        number += 1
    return bodies


def detect(detector: Detector, frame: Frame) -> Boxes:
    """What the detector finds in one frame, in its px."""

    def fill(slot: npt.NDArray[np.uint8]) -> Letterbox:
        return letterbox(frame, slot)

    with detector.batcher.queue.admit():
        ticket = detector.batcher.submit(fill, time.monotonic() + 60)
        inferred: Inferred[Letterbox] = detector.batcher.wait(ticket)
    return unletterbox(select(inferred.candidates, SELECTION), inferred.filled, clip=False)
