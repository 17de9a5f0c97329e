"""What examples in the OpenAPI document are made of; each protocol writes them as it writes its answers.

`shell`, `python`, `get_sample`: calls to copy.
"""

import numpy as np

from service.openapi.shapes import Json
from service.pictures.image import Frame
from service.pipeline.boxes import Boxes
from service.pipeline.detector import Detections
from service.pipeline.stages import Stages

EXAMPLE_FRAME = Frame(np.empty((0, 0, 3), np.uint8), width=176, height=144)
EXAMPLE_STAGES = Stages(0.512, 0.094, 30.12, 0.21)


def example_found() -> Detections:
    """A picture with one object in it, of the model's first class."""
    corners, scores = np.array([[66.25, 33.5, 112.0, 94.75]], np.float32), np.array([0.75], np.float32)
    return Detections(Boxes(corners, scores, np.zeros(1, np.int64)), EXAMPLE_FRAME, EXAMPLE_STAGES)


def shell(label: str, source: str) -> Json:
    """A call to copy into a shell."""
    return {"lang": "Shell", "label": label, "source": source}


def python(source: str) -> Json:
    """A call to copy into a Python program."""
    return {"lang": "Python", "label": "Python", "source": source}


def get_sample(url: str, path: str) -> list[Json]:
    """The way to call a route that takes nothing."""
    return [shell("curl", f"curl --fail-with-body {url}{path}")]
