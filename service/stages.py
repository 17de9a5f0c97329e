"""The stages of a picture's way through an instance, and how they are named everywhere."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stages:
    """Milliseconds of each stage, in order: `decode_ms` with letterboxing, `queue_ms`, `infer_ms`, `post_ms`."""

    decode_ms: float
    queue_ms: float
    infer_ms: float
    post_ms: float

    def named(self) -> list[tuple[str, float]]:
        """Stage names as answers, `Server-Timing` and metrics show them, with their milliseconds."""
        return [
            ("decode", self.decode_ms),
            ("queue", self.queue_ms),
            ("infer", self.infer_ms),
            ("post", self.post_ms),
        ]

    def server_timing(self, batch_size: int | None = None) -> str:
        """The `Server-Timing` header.

        Args:
            batch_size: frames that the engine took together, where one picture was sent.
        """
        told = {name: f"{name};dur={ms:.3f}" for name, ms in self.named()}
        if batch_size is not None:
            told["infer"] += f';desc="batch of {batch_size}"'
        return ", ".join(told.values())
