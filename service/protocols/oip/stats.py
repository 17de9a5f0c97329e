"""What the statistics extension tells of a model: how many requests, and how long they spent where."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from service.pipeline.stages import Stages
from service.protocols.oip import answers

NS_PER_MS = 1_000_000


@dataclass(slots=True)
class Duration:
    """Something that happened `count` times and took `ns` nanoseconds in all."""

    count: float = 0
    ns: float = 0

    def add(self, ms: float, count: float = 1) -> None:
        """Adds milliseconds."""
        self.count += count
        self.ns += ms * NS_PER_MS

    def whole(self) -> answers.OipSpent:
        """What was added, in whole numbers."""
        return answers.OipSpent(round(self.count), round(self.ns))


class ModelStats:
    """One model's statistics since start, of the requests that came by this protocol.

    A batch may hold frames of several requests, so each frame counts as its share of an execution: a quarter of one in
    a batch of four. The sums are right wherever whole batches came by this protocol.

    Args:
        clock: seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._durations = {stage: Duration() for stage in answers.OipInferenceStats.__struct_fields__}
        self._batches: dict[int, Duration] = {}
        self._frames = 0
        self._executions = 0.0
        self._last_ms = 0

    def succeed(self, ms: float, stages: Stages, batch_sizes: Sequence[int]) -> None:
        """Counts a request that was answered.

        Args:
            ms: what it took in all.
            stages: what each stage took.
            batch_sizes: for each frame how many it was inferred with.
        """
        with self._lock:
            spent = self._durations
            spent["success"].add(ms)
            spent["queue"].add(stages.queue_ms)
            spent["compute_input"].add(stages.decode_ms)
            spent["compute_infer"].add(stages.infer_ms)
            spent["compute_output"].add(stages.post_ms)
            self._last_ms = int(self._clock() * 1000)
            self._frames += len(batch_sizes)
            for size in batch_sizes:
                self._executions += 1 / size
                self._batches.setdefault(size, Duration()).add(stages.infer_ms / size, 1 / size)

    def fail(self, ms: float) -> None:
        """Counts a request that was not, after `ms`."""
        with self._lock:
            self._durations["fail"].add(ms)

    def document(self, name: str) -> answers.OipOneModelStats:
        """What the extension answers for this model."""
        with self._lock:
            return answers.OipOneModelStats(
                name=name,
                last_inference=self._last_ms,
                inference_count=self._frames,
                execution_count=round(self._executions),
                inference_stats=answers.OipInferenceStats(
                    **{stage: spent.whole() for stage, spent in self._durations.items()}
                ),
                batch_stats=[
                    answers.OipBatchStats(batch_size=size, compute_infer=spent.whole())
                    for size, spent in sorted(self._batches.items())
                ],
            )
