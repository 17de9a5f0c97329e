"""What a rehearsal is made with: a model that may be spoilt, the frames that cameras send, and where and when."""

import os
import shutil
import time
from pathlib import Path

import cv2
import numpy as np

from chaos.rehearsal import REPO, ChaosError
from framefleet.machine.kernel import kernel_version

DEFAULT_MODEL = REPO / "var" / "models" / "centerface-320.onnx"
DEFAULT_VIDEO = REPO / "var" / "video" / "carphone_pristine.mp4"
PAGE = REPO / "docs" / "reliability.md"
FRAMES = 60
POISON_SIDE, MAGENTA = 640, (255, 0, 255)


def copied(model: Path, folder: Path) -> str:
    """Copies a model with its manifest, since one of the faults spoils it; returns the copy's path.

    Raises:
        ChaosError: one of the two is not there.
    """
    try:
        for file in (model, model.with_suffix(".json")):
            shutil.copyfile(file, folder / file.name)
    except OSError as error:
        raise ChaosError(f"--model: {error.filename}: {error.strerror}; run `make setup` or `make model`") from None
    return str(folder / model.name)


def read_frames(video: Path) -> tuple[bytes, ...]:
    """The first frames of a video, as JPEG files.

    Raises:
        ChaosError: it has none.
    """
    capture = cv2.VideoCapture(str(video))
    frames: list[bytes] = []
    while len(frames) < FRAMES:
        read, frame = capture.read()
        if not read:
            break
        frames.append(cv2.imencode(".jpg", frame)[1].tobytes())
    capture.release()
    if not frames:
        raise ChaosError(f"--video: {video} shows nothing; run `make setup` or name another one")
    return tuple(frames)


def poison_picture() -> bytes:
    """A PNG that is magenta all over: it kills whoever infers it; see `cued_worker.py`."""
    return cv2.imencode(".png", np.full((POISON_SIDE, POISON_SIDE, 3), MAGENTA, np.uint8))[1].tobytes()


def circumstances(seed: int) -> str:
    """Where and when this runs, and with which seed, in words."""
    return f"{len(os.sched_getaffinity(0))} cores, {kernel_version()}, {time.strftime('%Y-%m-%d')}, seed {seed}."
