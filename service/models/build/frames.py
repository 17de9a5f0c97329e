"""Calibration frames: what a built engine and ONNX Runtime are both shown before the engine may serve."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from framefleet.client.sources import MediaError, open_source
from framefleet.wire.errors import ModelError
from service.pictures.image import Frame, letterbox


def calibration_frames(source: Path, input_size: tuple[int, int], count: int) -> npt.NDArray[np.uint8]:
    """Letterboxes frames spread evenly over a video, or over a folder of pictures.

    Args:
        source: video, picture or folder.
        input_size: the model's height and width in px.
        count: frames at most; fewer where the source has fewer.

    Returns:
        uint8 [n, h, w, 3], BGR.

    Raises:
        ModelError: the source cannot be read or is empty.
    """
    try:
        opened = open_source(str(source))
        every = max(1, (opened.count or count) // count)
        kept = [frame.pixels for frame in opened.frames() if frame.index % every == 0][:count]
    except MediaError as error:
        raise ModelError(f"calibration frames: {error}; pass --frames with a video or a folder of pictures") from error
    if not kept:
        raise ModelError(f"calibration frames: {source} has none; pass --frames with a video or a folder of pictures")
    slots = np.empty((len(kept), *input_size, 3), np.uint8)
    for pixels, slot in zip(kept, slots, strict=True):
        letterbox(Frame(pixels, pixels.shape[1], pixels.shape[0]), slot)
    return slots
