"""Frames go out on time whatever the server does."""

from collections.abc import Callable

import pytest

from loadtest.frames.schedule import Arrival, cameras
from loadtest.generate.dispatch import REFUSED_PAUSE_S, Dispatcher, Edge


class World:
    """A clock that moves only when somebody sleeps; a flight lands, all at once, when its answer is due."""

    def __init__(self, answer_s: float) -> None:
        self.now_s = 0.0
        self._answer_s = answer_s
        self._landings: list[tuple[float, Callable[[], None]]] = []
        self.sent: list[tuple[float, Arrival]] = []
        self.ready: list[float] = []
        self.dropped: list[Arrival] = []
        self.right = True

    def edge(self) -> Edge:
        return Edge(lambda: self.now_s, self.sleep, self.spawn, self.fire, self.dropped.append)

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        landed = [land for moment, land in self._landings if moment <= self.now_s]
        self._landings = [(moment, land) for moment, land in self._landings if moment > self.now_s]
        for land in landed:
            land()

    def spawn(self, flight: Callable[[], None]) -> None:
        self._landings.append((self.now_s + self._answer_s, flight))

    def fire(self, arrival: Arrival, ready_s: float) -> bool:
        self.sent.append((self.now_s, arrival))
        self.ready.append(ready_s)
        return self.right

    def run(self, arrivals: tuple[Arrival, ...], in_flight: int, *, newest: bool = False) -> None:
        Dispatcher(self.edge(), in_flight, newest=newest).run(arrivals)
        self.sleep(1e6)


ARRIVALS = cameras(cameras=3, fps=10, seconds=5, frames=7, seed=1)


def test_every_arrival_is_fired_at_its_moment() -> None:
    moments: list[float] = []
    world = World(answer_s=0.0)

    def spawn(flight: Callable[[], None]) -> None:
        moments.append(world.now_s)

    Dispatcher(Edge(lambda: world.now_s, world.sleep, spawn, world.fire, world.dropped.append), 10**6).run(ARRIVALS)
    assert all(abs(moment - arrival.due_s) < 1e-9 for moment, arrival in zip(moments, ARRIVALS, strict=True))


def test_a_stalled_server_stops_nothing_until_the_bound() -> None:
    world = World(answer_s=1e5)
    world.run(ARRIVALS, in_flight=4)
    assert len(world.sent) == 3 * 4
    assert len(world.sent) + len(world.dropped) == len(ARRIVALS)


def test_the_bound_holds_for_each_camera_by_itself() -> None:
    arrivals = tuple(
        sorted((Arrival(camera, 0, n / 10) for camera in (0, 1) for n in range(8 - 7 * camera)), key=lambda a: a.due_s)
    )
    world = World(answer_s=1e5)
    world.run(arrivals, in_flight=2)
    assert {arrival.camera for arrival in world.dropped} == {0}
    assert len(world.dropped) == 6


def test_an_answer_makes_room_again() -> None:
    world = World(answer_s=0.05)
    world.run(ARRIVALS, in_flight=1)
    assert world.dropped == []
    assert len(world.sent) == len(ARRIVALS)


def test_a_late_generator_still_sends_everything_and_lets_others_run() -> None:
    world = World(answer_s=0.0)
    world.now_s = 100.0
    sleeps: list[float] = []

    def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        world.sleep(seconds)

    edge = Edge(lambda: world.now_s, sleep, world.spawn, world.fire, world.dropped.append)
    Dispatcher(edge, 1).run(ARRIVALS)
    assert sleeps == [0.0] * len(ARRIVALS)
    assert world.dropped == []


def test_a_flight_that_fails_makes_room_too() -> None:
    class Broken(Exception):
        pass

    flights: list[Callable[[], None]] = []
    dropped: list[Arrival] = []

    def spawn(flight: Callable[[], None]) -> None:
        try:
            flight()
        except Broken:
            flights.append(flight)

    def fire(arrival: Arrival, ready_s: float) -> bool:
        raise Broken

    Dispatcher(Edge(lambda: 100.0, lambda seconds: None, spawn, fire, dropped.append), 1).run(ARRIVALS)
    assert (len(flights), dropped) == (len(ARRIVALS), [])


def test_a_camera_with_a_slow_answer_keeps_only_its_newest_frame() -> None:
    one_camera = tuple(Arrival(0, n, n / 10) for n in range(6))
    world = World(answer_s=0.45)
    world.run(one_camera, in_flight=1, newest=True)
    assert [arrival.frame for _, arrival in world.sent] == [0, 4, 5]
    assert [arrival.frame for arrival in world.dropped] == [1, 2, 3]


def test_a_kept_frame_could_be_sent_from_the_answer_on() -> None:
    world = World(answer_s=0.45)
    world.run((Arrival(0, 0, 0.0), Arrival(0, 1, 0.1), Arrival(0, 2, 1.0)), in_flight=1, newest=True)
    assert world.ready == pytest.approx([0.0, 1.0, 1.0])


def test_a_closed_loop_sends_the_next_frame_when_the_last_one_was_answered() -> None:
    now_s = 0.0

    def fire(arrival: Arrival, ready_s: float) -> bool:
        nonlocal now_s
        assert (arrival.due_s, ready_s) == (now_s, now_s)
        sent.append(arrival)
        now_s += 0.25
        return True

    sent: list[Arrival] = []
    slept: list[float] = []
    edge = Edge(lambda: now_s, slept.append, lambda client: client(), fire, lambda arrival: None)
    Dispatcher(edge, 1).run_closed([2], frames=3, until_s=1.0)
    assert [(arrival.camera, arrival.frame) for arrival in sent] == [(2, 2), (2, 0), (2, 1), (2, 2)]
    assert slept == []


def test_a_closed_loop_does_not_hammer_a_service_that_refuses() -> None:
    world = World(answer_s=0.0)
    world.right = False
    edge = Edge(lambda: world.now_s, world.sleep, lambda client: client(), world.fire, world.dropped.append)
    Dispatcher(edge, 1).run_closed([0], frames=3, until_s=1.0)
    assert len(world.sent) == pytest.approx(1.0 / REFUSED_PAUSE_S, abs=1)
