from collections.abc import Mapping

import pytest

from deploy.fleet import Fleet
from deploy.machine.control import Changes, ProgramState
from deploy.rollout.rolling_update import Step, plan
from tests.deploy.fleets import fleet_of

NOTHING = Changes((), (), ())


def states(fleet: Fleet, changed: Mapping[str, str] | None = None) -> dict[str, ProgramState]:
    given = dict.fromkeys(fleet.programs, "RUNNING") | dict(changed or {})
    return {name: ProgramState(name, state, 1, 60, "") for name, state in given.items()}


def steps(
    changes: Changes = NOTHING,
    *,
    instances: int = 2,
    running: Mapping[str, str] | None = None,
    ports_moved: bool = False,
    balancer_loaded: bool = True,
) -> list[Step]:
    fleet = fleet_of(instances)
    runs = states(fleet, running)
    for name in changes.added:
        del runs[name]
    return list(plan(fleet, changes, runs, ports_moved=ports_moved, balancer_loaded=balancer_loaded))


def test_no_change_needs_no_step() -> None:
    assert steps() == []


def test_a_new_instance_is_up_before_the_balancer_knows_it() -> None:
    changes = Changes(added=("cpu2",), changed=(), removed=())
    assert steps(changes, instances=3, balancer_loaded=False) == [
        Step("add", ("cpu2",)),
        Step("reload", ("balancer",)),
    ]


def test_an_instance_leaves_after_the_balancer_has_forgotten_it() -> None:
    changes = Changes(added=(), changed=(), removed=("cpu2",))
    assert steps(changes, balancer_loaded=False) == [Step("reload", ("balancer",)), Step("remove", ("cpu2",))]


def test_changed_instances_follow_each_other() -> None:
    changes = Changes(added=(), changed=("cpu1", "cpu0"), removed=())
    assert steps(changes) == [Step("replace", ("cpu0",)), Step("replace", ("cpu1",))]


def test_what_does_not_answer_after_a_failed_rollout_is_replaced_before_what_does() -> None:
    fleet = fleet_of(3)
    runs = states(fleet) | {
        "cpu0": ProgramState("cpu0", "STARTING", 1, 9, ""),
        "cpu1": ProgramState("cpu1", "BACKOFF", 0, 0, "exited too quickly"),
    }
    changes = Changes(added=(), changed=("cpu0", "cpu1", "cpu2"), removed=())
    planned = plan(fleet, changes, runs, ports_moved=False, balancer_loaded=True)
    assert [step.names for step in planned] == [("cpu1",), ("cpu0",), ("cpu2",)]


def test_the_balancer_is_reloaded_once_the_first_changed_instance_is_back() -> None:
    changes = Changes(added=(), changed=("cpu0", "cpu1"), removed=())
    assert steps(changes, balancer_loaded=False) == [
        Step("replace", ("cpu0",)),
        Step("reload", ("balancer",)),
        Step("replace", ("cpu1",)),
    ]


def test_instances_whose_ports_moved_restart_together() -> None:
    changes = Changes(added=(), changed=("cpu0", "cpu1"), removed=())
    assert steps(changes, ports_moved=True, balancer_loaded=False) == [
        Step("replace", ("cpu0", "cpu1")),
        Step("reload", ("balancer",)),
    ]


def test_a_balancer_whose_program_changed_is_replaced_and_not_reloaded() -> None:
    changes = Changes(added=(), changed=("balancer",), removed=())
    assert steps(changes, balancer_loaded=False) == [Step("replace", ("balancer",))]


@pytest.mark.parametrize("state", ["STOPPED", "EXITED", "FATAL", "BACKOFF", "UNKNOWN"])
def test_a_program_that_does_not_run_is_started_first(state: str) -> None:
    assert steps(running={"cpu1": state}) == [Step("start", ("cpu1",))]


def test_a_stopped_balancer_is_started_and_so_reads_its_files() -> None:
    assert steps(running={"balancer": "STOPPED"}, balancer_loaded=False) == [Step("start", ("balancer",))]


def test_a_changed_program_that_does_not_run_is_only_replaced() -> None:
    changes = Changes(added=(), changed=("cpu0",), removed=())
    assert steps(changes, running={"cpu0": "FATAL"}) == [Step("replace", ("cpu0",))]
