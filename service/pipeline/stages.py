"""What each stage of a picture's way through an instance took."""

from dataclasses import dataclass

from framefleet.wire.timing import server_timing


@dataclass(frozen=True, slots=True)
class Stages:
    """Milliseconds of each stage, in order: `decode_ms` with letterboxing, `queue_ms`, `infer_ms`, `post_ms`."""

    decode_ms: float
    queue_ms: float
    infer_ms: float
    post_ms: float

    @property
    def ms(self) -> tuple[float, ...]:
        """The milliseconds of `framefleet.wire.timing.STAGES`, in order."""
        return self.decode_ms, self.queue_ms, self.infer_ms, self.post_ms

    def server_timing(self, batch_size: int | None = None) -> str:
        """The `Server-Timing` header.

        Args:
            batch_size: frames that the engine took together, where one picture was sent.
        """
        return server_timing(self.ms, batch_size)
