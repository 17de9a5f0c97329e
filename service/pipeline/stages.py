"""The stages of a picture's way through an instance, and how they are named everywhere."""

from dataclasses import dataclass

STAGES = ("decode", "queue", "infer", "post")


@dataclass(frozen=True, slots=True)
class Stages:
    """Milliseconds of each stage, in order: `decode_ms` with letterboxing, `queue_ms`, `infer_ms`, `post_ms`."""

    decode_ms: float
    queue_ms: float
    infer_ms: float
    post_ms: float

    @property
    def ms(self) -> tuple[float, ...]:
        """The milliseconds of `STAGES`, as answers, `Server-Timing` and metrics name them."""
        return self.decode_ms, self.queue_ms, self.infer_ms, self.post_ms

    def server_timing(self, batch_size: int | None = None) -> str:
        """The `Server-Timing` header.

        Args:
            batch_size: frames that the engine took together, where one picture was sent.
        """
        batch = "" if batch_size is None else f';desc="batch of {batch_size}"'
        return (
            f"decode;dur={self.decode_ms:.3f}, queue;dur={self.queue_ms:.3f}, infer;dur={self.infer_ms:.3f}{batch}, "
            f"post;dur={self.post_ms:.3f}"
        )
