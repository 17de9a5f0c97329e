from deploy.guard.reviver import Act, Delays, Reviver
from deploy.machine.control import ProgramState

SINGLES = frozenset({"balancer", "reviver"})
RUNNING = {"cpu0": "RUNNING", "cpu1": "RUNNING", "balancer": "RUNNING", "reviver": "RUNNING"}


class Fleet:
    """Programs whose states a test sets, and what the reviver did about them so far."""

    def __init__(self) -> None:
        self.reviver = Reviver(Delays(), SINGLES)
        self.states = dict(RUNNING)
        self.uptime_s = 60

    def at(self, now: float, **states: str) -> list[tuple[str, str]]:
        return [(act.kind, act.program) for act in self.acts(now, **states)]

    def acts(self, now: float, **states: str) -> tuple[Act, ...]:
        self.states |= states
        rows = {name: ProgramState(name, state, 7, self.uptime_s, "") for name, state in self.states.items()}
        return self.reviver.decide(rows, now)

    def crash(self, program: str, *times: float) -> None:
        for now in times:
            self.reviver.crashed(program, now)


def test_a_fleet_that_runs_is_left_alone() -> None:
    fleet = Fleet()
    assert [fleet.at(now) for now in range(0, 3600, 5)] == [[]] * 720


def test_a_fatal_program_is_reported_once_and_started_again_after_a_minute() -> None:
    fleet = Fleet()
    assert fleet.at(0, cpu0="FATAL") == [("alert", "cpu0")]
    assert [fleet.at(now) for now in (5, 30, 59)] == [[], [], []]
    assert fleet.at(60) == [("start", "cpu0")]


def test_each_failure_in_a_row_doubles_the_delay_up_to_ten_minutes() -> None:
    fleet, now, delays = Fleet(), 0.0, []
    for _ in range(6):
        assert fleet.at(now, cpu0="FATAL") == [("alert", "cpu0")]
        began = now
        while not fleet.at(now := now + 5):
            pass
        delays.append(now - began)
        assert fleet.at(now, cpu0="STARTING") == []
    assert delays == [60, 120, 240, 480, 600, 600]


def test_a_steady_run_forgets_earlier_failures() -> None:
    fleet = Fleet()
    fleet.at(0, cpu0="FATAL")
    fleet.at(60)
    fleet.uptime_s = 600
    fleet.at(700, cpu0="RUNNING")
    fleet.at(800, cpu0="FATAL")
    assert (fleet.at(859), fleet.at(860)) == ([], [("start", "cpu0")])


def test_a_crash_loop_is_held_and_then_started_again() -> None:
    fleet = Fleet()
    fleet.crash("cpu0", 0, 20, 40, 60)
    assert fleet.at(60) == []
    fleet.crash("cpu0", 80)
    assert fleet.at(80) == [("stop", "cpu0")]
    assert fleet.at(85, cpu0="STOPPED") == []
    assert fleet.at(90) == [("start", "cpu0")]


def test_one_that_is_held_is_started_as_soon_as_nothing_stands_in_for_it_any_more() -> None:
    fleet = Fleet()
    fleet.crash("cpu0", 0, 1, 2, 3, 4)
    assert fleet.at(5) == [("stop", "cpu0")]
    assert fleet.at(6, cpu0="STOPPED") == []
    assert fleet.at(7, cpu1="STARTING") == [("start", "cpu0")]


def test_crashes_far_apart_are_no_loop() -> None:
    fleet = Fleet()
    for now in range(0, 3600, 80):
        fleet.crash("cpu0", now)
        assert fleet.at(now) == []


def test_the_only_running_instance_and_the_balancer_are_never_held() -> None:
    fleet = Fleet()
    fleet.crash("cpu0", 0, 1, 2, 3, 4)
    fleet.crash("balancer", 0, 1, 2, 3, 4)
    assert fleet.at(5, cpu1="FATAL") == [("alert", "cpu0"), ("alert", "cpu1"), ("alert", "balancer")]


def test_of_two_instances_in_a_loop_at_once_only_one_is_held() -> None:
    fleet = Fleet()
    for program in ("cpu0", "cpu1"):
        fleet.crash(program, 0, 1, 2, 3, 4)
    assert fleet.at(5) == [("stop", "cpu0"), ("alert", "cpu1")]


def test_an_instance_that_is_replaced_often_as_it_should_be_is_reported_and_not_held() -> None:
    fleet = Fleet()
    for now in (0, 20, 40, 60, 80):
        fleet.reviver.crashed("cpu0", now, expected=now == 60)
    assert fleet.at(80) == [("alert", "cpu0")]
    fleet.crash("cpu0", 100, 101, 102, 103, 104)
    assert fleet.at(105) == [("stop", "cpu0")]


def test_what_somebody_else_stopped_stays_stopped() -> None:
    fleet = Fleet()
    fleet.crash("cpu0", 0, 1, 2, 3, 4)
    assert [fleet.at(now, cpu0="STOPPED") for now in (5, 100, 1000)] == [[], [], []]
    assert fleet.at(1005, cpu0="RUNNING") == []


def test_a_program_stuck_in_stopping_is_reported_once() -> None:
    fleet = Fleet()
    assert [fleet.at(now, cpu0="STOPPING") for now in (0, 60, 61, 70)] == [[], [], [("alert", "cpu0")], []]


def test_a_program_that_is_gone_is_forgotten() -> None:
    fleet = Fleet()
    fleet.at(0, cpu0="FATAL")
    gone = fleet.states.pop("cpu0")
    assert fleet.at(30) == []
    assert fleet.at(100, cpu0=gone) == [("alert", "cpu0")]
