"""One step of a sweep as a record: [Step] -> reduction -> [Row] -> curve, crossing, page.

`None` stands for what could not be measured, for JSON has no NaN.
"""

from dataclasses import dataclass

from loadtest.measure.step import Counts
from loadtest.measure.summary import GENERATOR_CPU_LIMIT

# The SLO: so large a part of all frames that fell due must be answered right and in time.
IN_TIME_WANTED = 0.95


@dataclass(frozen=True, slots=True)
class Share:
    """What one instance did in a step.

    Attributes:
        name: from `X-Instance`.
        right: its right answers.
        share: its part of all right answers, 0 to 1.
        p95_ms: 95 % of its right answers took no longer from the send.
        infer_ms: mean time in its engine, if it says.
    """

    name: str
    right: int
    share: float
    p95_ms: float
    infer_ms: float | None


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds of right answers: from the scheduled moment, except `service`, which counts from the send."""

    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    service_mean_ms: float
    service_p95_ms: float


@dataclass(frozen=True, slots=True)
class Little:
    """Little's law of one step: in steady state both figures are the same.

    Attributes:
        in_flight: frames in flight, counted at regular moments and averaged.
        rate_times_wait: frames sent per second times their mean time in flight.
    """

    in_flight: float
    rate_times_wait: float

    @property
    def error(self) -> float:
        """How far `in_flight` is from the product, as a part of it."""
        return abs(self.in_flight - self.rate_times_wait) / max(self.rate_times_wait, 1e-9)


@dataclass(frozen=True, slots=True)
class Row:
    """One step of the sweep, without its warm-up.

    Attributes:
        kind: what it was for: sweep, verify or overload.
        asked_fps: rate of the schedule, frames/s.
        sent_fps: frames sent per second.
        ok_fps: right answers per second.
        seconds: length of the measured part.
        seed: of its schedule.
        in_time: right answers within the SLO as a part of all frames that fell due, 0 to 1.
        in_time_sent: the same with the limit counted from the send, so without the generator's own lateness.
        counts: frames by what became of them.
        times: latency; none without a right answer.
        stages: mean ms per stage, from `Server-Timing`.
        outside_ms: mean service time outside the stages: network, balancer, HTTP.
        shares: per instance.
        little: Little's law; none without an answer.
        batch: mean number of frames the engine took at once, if it can be told.
        lateness_p99_ms: how late the generator sent.
        generator_cpu: share of one core it used.
        doubts: why the step is no valid measurement; empty if it is one.
        seconds_offered: frames that fell due in each second, for resampling.
        seconds_in_time: of those the ones answered right within the SLO.
    """

    kind: str
    asked_fps: float
    sent_fps: float
    ok_fps: float
    seconds: float
    seed: int
    in_time: float
    in_time_sent: float
    counts: Counts
    times: Times | None
    stages: dict[str, float]
    outside_ms: float | None
    shares: tuple[Share, ...]
    little: Little | None
    batch: float | None
    lateness_p99_ms: float | None
    generator_cpu: float | None
    doubts: tuple[str, ...]
    seconds_offered: tuple[int, ...]
    seconds_in_time: tuple[int, ...]

    @property
    def holds(self) -> bool:
        """Whether the step met the SLO. A late generator only makes that harder, for its lateness counts too."""
        return self.in_time >= IN_TIME_WANTED

    @property
    def trusted(self) -> bool:
        """Whether the step says something about the service: a missed one may be the generator's fault.

        It is not if the frames were late even from their send, and the generator had CPU to spare.
        """
        if self.holds or not self.doubts:
            return True
        spare_cpu = self.generator_cpu is not None and self.generator_cpu <= GENERATOR_CPU_LIMIT
        return spare_cpu and self.in_time_sent < IN_TIME_WANTED
