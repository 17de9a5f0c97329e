"""Asks the engine the same question again and again: a device that fails silently answers it differently.

The question is a made-up frame, the expected answer is what the engine said to it right after warming up.
"""

import numpy as np
import numpy.typing as npt

from service.engines import Engine
from service.errors import EngineFault

SEED = 20_261_123
# A device may round differently between runs, by far less than these; one that computes garbage misses them by far
# more. Scores are compared relative to the best one, which may itself be small: the frame shows nothing.
SCORE_TOLERANCE = 0.02
BOX_TOLERANCE_PX = 2.0


class SelfTest:
    """Takes the expected answer when it is made.

    Args:
        engine: open and warmed up.
    """

    def __init__(self, engine: Engine) -> None:
        self._frame = golden_frame(engine.info.input_size)
        self._expected = engine.infer(self._frame)[0]

    def repeat(self, engine: Engine) -> None:
        """Asks again.

        Raises:
            EngineFault: the answer is another one, or the engine refused to answer.
        """
        try:
            found = engine.infer(self._frame)[0]
        except EngineFault:
            raise
        except Exception as error:
            raise EngineFault(f"self-test: the engine refused a frame it has answered before: {error}") from error
        if not agree(found, self._expected):
            raise EngineFault("self-test: the engine answered a frame differently than at start; the device is suspect")


def golden_frame(input_size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Makes the frame: soft noise with edges at many scales, the same on every machine.

    Args:
        input_size: height, width in pixels.

    Returns:
        uint8 [1, height, width, 3].
    """
    height, width = input_size
    generator = np.random.default_rng(SEED)
    frame = np.zeros((height, width, 3), np.float32)
    for cell in (4, 16, 64):
        coarse = generator.random((-(-height // cell), -(-width // cell), 3), np.float32)
        frame += coarse.repeat(cell, axis=0).repeat(cell, axis=1)[:height, :width]
    return (frame * (255 / 3)).astype(np.uint8)[None]


def agree(found: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]) -> bool:
    """Whether two answers to one frame are the same but for rounding.

    Args:
        found: float32 [k, 6], in any order among equal scores.
        expected: likewise.
    """
    if found.shape != expected.shape or not np.isfinite(found).all():
        return False
    order, expected_order = np.argsort(-found[:, 4]), np.argsort(-expected[:, 4])
    scores, expected_scores = found[order, 4], expected[expected_order, 4]
    same_scores = np.abs(scores - expected_scores).max() <= SCORE_TOLERANCE * expected_scores[0]
    shift = np.abs(found[order[0], :4] - expected[expected_order[0], :4]).max()
    return bool(same_scores and shift <= BOX_TOLERANCE_PX)
