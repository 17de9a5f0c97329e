"""A fleet as a discrete-event simulation sees it: balancer and batching instances, on SimPy.

Each instance is a process: as soon as its engine is free it takes what waits, up to the largest batch, for
`a_ms + b_ms * n`. The balancer gives a frame to the instance with the fewest unanswered ones, in turn among equals, as
nginx's least_conn does. What happens around the engine (decoding, HTTP) delays an answer but uses nothing up.

`LeastConn`: nginx's least_conn: picks the peer with the fewest unanswered requests. Pure.
"""

from collections import OrderedDict, deque
from collections.abc import Generator, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import simpy

Peer = TypeVar("Peer", bound=Hashable)
Process = Generator[simpy.Event, Any, None]


class LeastConn(Generic[Peer]):
    """Picks the instance with the fewest unanswered frames, in turn among equals; each step takes constant time.

    Args:
        instances: all that may be picked.
    """

    def __init__(self, instances: Iterable[Peer]) -> None:
        # In the order in which they came: the first one waited longest for its turn. A plain dict finds its first key
        # ever more slowly the more were deleted before it.
        self._by_count: list[OrderedDict[Peer, None]] = [OrderedDict.fromkeys(instances)]
        self._count = dict.fromkeys(self._by_count[0], 0)
        self._least = 0

    def pick(self) -> Peer | None:
        """The next instance, none if all are down."""
        if not self._count:
            return None
        while not self._by_count[self._least]:
            self._least += 1
        return next(iter(self._by_count[self._least]))

    def note(self, instance: Peer, unanswered: int) -> None:
        """Takes note of how many frames an instance has; a new one joins."""
        before = self._count.get(instance)
        if before is not None:
            del self._by_count[before][instance]
        while len(self._by_count) <= unanswered:
            self._by_count.append(OrderedDict())
        self._by_count[unanswered][instance] = None
        self._count[instance] = unanswered
        self._least = min(self._least, unanswered)

    def remove(self, instance: Peer) -> None:
        """Leaves an instance out: nothing listens there."""
        del self._by_count[self._count.pop(instance)][instance]


@dataclass(frozen=True, slots=True)
class Model:
    """What an instance does, all times in ms.

    Attributes:
        a_ms: cost of a batch.
        b_ms: cost of a frame in it.
        spread_ms: standard deviation of a batch's time.
        max_batch: frames inferred together at most.
        queue_size: frames in the instance at once; more are refused.
        around_ms: time of a frame outside queue and engine.
    """

    a_ms: float
    b_ms: float
    spread_ms: float
    max_batch: int
    queue_size: int
    around_ms: float


class Instance:
    """One instance: a bounded queue before an engine.

    Args:
        world: SimPy's clock and events.
        model: what it does.
        draw: random numbers for the spread.
        fleet: takes what is answered and what has to be sent again.
    """

    def __init__(self, world: simpy.Environment, model: Model, draw: np.random.Generator, fleet: "Fleet") -> None:
        self._world, self._model, self._draw, self._fleet = world, model, draw, fleet
        # Frames, as the moments in s at which they fell due.
        self._waiting: deque[float] = deque()
        self._batch: list[float] = []
        self._wake = world.event()
        self.up = True
        self.busy_s = 0.0
        self.batches = 0
        self.frames = 0
        self._process = world.process(self._serve())

    @property
    def unanswered(self) -> int:
        """Frames in the queue and in the engine."""
        return len(self._waiting) + len(self._batch)

    @property
    def full(self) -> bool:
        """Whether it refuses another frame."""
        return self.unanswered >= self._model.queue_size

    def take(self, due_s: float) -> None:
        """Queues a frame."""
        self._waiting.append(due_s)
        if not self._wake.triggered:
            self._wake.succeed()

    def fail(self) -> list[float]:
        """Dies at once and gives back what it had not answered."""
        self.up = False
        lost = [*self._batch, *self._waiting]
        self._batch, self._waiting = [], deque()
        self._process.interrupt()
        return lost

    def repair(self) -> None:
        """Starts again, empty."""
        self.up = True
        self._wake = self._world.event()
        self._process = self._world.process(self._serve())

    def _serve(self) -> Process:
        try:
            while True:
                if not self._waiting:
                    self._wake = self._world.event()
                    yield self._wake
                yield from self._infer()
        except simpy.Interrupt:
            return

    def _infer(self) -> Process:
        size = min(len(self._waiting), self._model.max_batch)
        self._batch = [self._waiting.popleft() for _ in range(size)]
        took_s = self._service_s(size)
        yield self._world.timeout(took_s)
        self.busy_s += took_s
        self.batches += 1
        self.frames += size
        done, self._batch = self._batch, []
        self._fleet.answered(self, done)

    def _service_s(self, size: int) -> float:
        mean_ms = self._model.a_ms + self._model.b_ms * size
        spread_ms = self._model.spread_ms * float(self._draw.standard_normal()) if self._model.spread_ms else 0.0
        return max(mean_ms / 2, mean_ms + spread_ms) / 1e3


class Fleet:
    """Balancer and instances.

    Args:
        world: SimPy's clock and events.
        model: what an instance does.
        instances: how many there are.
        seed: of the spread.
    """

    def __init__(self, world: simpy.Environment, model: Model, instances: int, seed: int) -> None:
        draw = np.random.default_rng(seed)
        self._world, self._around_s = world, model.around_ms / 1e3
        self.instances = [Instance(world, model, draw, self) for _ in range(instances)]
        self._balancer = LeastConn(self.instances)
        self.due_s: list[float] = []
        self.latency_s: list[float] = []
        self.shed = 0
        self.retried = 0
        self.lost = 0

    def send(self, due_s: float) -> None:
        """Gives a frame to an instance; a full one refuses it, and with none left it is lost."""
        instance = self._balancer.pick()
        if instance is None:
            self.lost += 1
        elif instance.full:
            self.shed += 1
        else:
            instance.take(due_s)
            self._balancer.note(instance, instance.unanswered)

    def answered(self, instance: Instance, frames: list[float]) -> None:
        """Takes the answers of a batch."""
        self._balancer.note(instance, instance.unanswered)
        self.due_s += frames
        self.latency_s += [self._world.now - due_s + self._around_s for due_s in frames]

    def fail(self, instances: list[Instance]) -> None:
        """Instances die at once; the balancer runs their frames again elsewhere."""
        alive = [instance for instance in instances if instance.up]
        for instance in alive:
            self._balancer.remove(instance)
        for due_s in [due_s for instance in alive for due_s in instance.fail()]:
            self.retried += 1
            self.send(due_s)

    def repair(self, instances: list[Instance]) -> None:
        """Instances are back."""
        for instance in instances:
            if not instance.up:
                instance.repair()
                self._balancer.note(instance, 0)
