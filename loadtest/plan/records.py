"""What a plan is asked for and what it says: [Demand] + [Host] + [Prices] -> [Plan]."""

from dataclasses import dataclass

from loadtest.capacity.fits import Scaling

TARGET = 0.7


@dataclass(frozen=True, slots=True)
class Demand:
    """What has to be answered.

    Attributes:
        streams: cameras.
        fps: frames per second of each.
        p95_ms: 95 % of the frames must be answered within it; none takes the limit that was measured.
        target: part of its capacity that anything may be used to, 0 to 1.
    """

    streams: int
    fps: float
    p95_ms: float | None = None
    target: float = TARGET

    @property
    def rate_fps(self) -> float:
        """Frames per second of all streams."""
        return self.streams * self.fps


@dataclass(frozen=True, slots=True)
class Host:
    """One machine of the fleet to be, the largest thing that fails at once.

    Attributes:
        instances: that run on it.
        gpus: that it has.
        cores: CPU cores that its instances may use; none if that is not known, and then they are not planned with.
        nic_gbps: network in each direction, 10^9 bits/s.
        assumed: what of this nobody said, in words.
    """

    instances: int = 1
    gpus: int = 1
    cores: float | None = 8.0
    nic_gbps: float = 1.0
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prices:
    """In any currency and for any span of time, the same for both; 0 leaves it out."""

    host: float = 0.0
    gpu: float = 0.0


@dataclass(frozen=True, slots=True)
class PerFrame:
    """What one frame costs.

    Attributes:
        request_bytes: sent to the fleet.
        response_bytes: sent back.
        cpu_ms: CPU time on an instance's host; none if it was not measured.
    """

    request_bytes: float
    response_bytes: float
    cpu_ms: float | None


@dataclass(frozen=True, slots=True)
class Source:
    """What a plan's figures were taken from.

    Attributes:
        text: in a few words.
        frame: what was sent, in words.
        cpu_only: engines that use no GPU were measured, so the plan has none.
        typed: the cost of a batch was given by hand; the throughput was worked out from it, not measured.
        instances: of the largest fleet that was measured; 1 if it was typed.
        cores: CPU cores that those instances had; none if that is not known.
    """

    text: str
    frame: str
    cpu_only: bool
    typed: bool
    instances: int
    cores: int | None


@dataclass(frozen=True, slots=True)
class Basis:
    """What is known about one model.

    Attributes:
        source: where it is known from.
        scaling: frames/s by number of instances behind one balancer.
        p95_ms: the limit those figures are for.
        per_frame: what a frame costs.
        warnings: why to take them with care.
    """

    source: Source
    scaling: Scaling
    p95_ms: float
    per_frame: PerFrame
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """One balancer and the hosts behind it.

    Attributes:
        rate_fps: frames per second it gets.
        instances: needed for them.
        hosts: needed for them, without a spare one.
    """

    rate_fps: float
    instances: int
    hosts: int

    @property
    def hosts_with_spare(self) -> int:
        """One more, so that any one may fail."""
        return self.hosts + 1


@dataclass(frozen=True, slots=True)
class Use:
    """How much of one thing is used in the fullest cell while one host is down, as a part of all there is of it."""

    name: str
    share: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What to buy.

    Attributes:
        demand: what was asked for.
        source: what it rests on.
        host: of which kind the hosts are.
        rate_fps: frames per second of all streams.
        cells: balancers with their hosts.
        instances: needed for the rate, without spare.
        hosts_needed: that carry the rate.
        hosts: with one spare per cell.
        gpus: in all hosts, spare ones included.
        network_gbps: towards the fleet, 10^9 bits/s.
        cores: CPU cores that the rate keeps busy; none if that was not measured.
        uses: what is used how much, the fullest first.
        cost: of all hosts and GPUs; none without prices.
        warnings: why to take it with care.
    """

    demand: Demand
    source: Source
    host: Host
    rate_fps: float
    cells: tuple[Cell, ...]
    instances: int
    hosts_needed: int
    hosts: int
    gpus: int
    network_gbps: float
    cores: float | None
    uses: tuple[Use, ...]
    cost: float | None
    warnings: tuple[str, ...]
