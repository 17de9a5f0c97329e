"""What it proves that answers stay the same under load: the idle service's answers -> a warning. Pure.

An answer is held against the same service's own, given without load. That says nothing about whether either is correct;
and where the model finds nothing in a clip, every answer is empty and the same whatever happens to the pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from framefleet.wire.answers import Detection

# Below this part of the frames a comparison rests on too few of them.
FEW = 0.1


@dataclass(frozen=True, slots=True)
class Proof:
    """How much there is to compare: frames, and those of them in which the idle service found anything."""

    frames: int
    detecting: int

    @property
    def share(self) -> float:
        """Part of the frames with a detection, 0 to 1."""
        return self.detecting / self.frames if self.frames else 0.0

    @property
    def warning(self) -> str:
        """Why the comparison proves little; empty if it proves what it should."""
        if self.share >= FEW:
            return ""
        found = f"in {self.detecting} of {self.frames} frames" if self.detecting else "in no frame of the clip"
        return (
            f"the service finds something {found}: that answers stay the same proves little; "
            f"take a clip that shows what the model looks for"
        )


def of(answers: Sequence[Sequence[Detection]]) -> Proof:
    """Looks at the idle service's answers, one per frame."""
    return Proof(len(answers), sum(bool(found) for found in answers))
