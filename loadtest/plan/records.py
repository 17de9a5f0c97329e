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
        cores: CPU cores that its instances may use.
        nic_gbps: network in each direction, 10^9 bits/s.
    """

    instances: int = 1
    gpus: int = 1
    cores: float = 8.0
    nic_gbps: float = 1.0


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
class Basis:
    """What is known from measurements.

    Attributes:
        scaling: frames/s by number of instances behind one balancer.
        p95_ms: the limit those figures are for.
        per_frame: what a frame costs.
        warnings: why to take them with care.
    """

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
