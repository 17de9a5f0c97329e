"""Every recipe, call by call: what is done to a machine, in which order, when all goes well and when a step fails.

The whole of what is done is compared, so that no call can be left out or change its place unseen. That each call does
what it says is for the tests of `deploy.machine`, and that all of it works for those with real processes.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.describe.fleet_file import parse_inventory
from deploy.errors import CheckError, ControlError, DeployError, PreflightError, Problem, StartError
from deploy.machine.command import Outcome
from deploy.machine.control import Changes
from deploy.machine.run_lock import Holder
from deploy.machine.target import Target
from deploy.rollout.desired_state import DesiredState, Request, expand
from deploy.rollout.history import read_history
from deploy.rollout.recipes import deploy, down, drain, rollback, run_while_up, undeploy, up
from framefleet.machine.listening import Refusal
from tests.deploy.recorded import NO_CHANGES, RecordedMachine, recorded
from tests.deploy.rollout.machines import (
    Manager,
    done,
    in_place,
    inventory_in,
    local_fleet,
    machine_with,
    put_in_place,
    release_in,
    target_of,
)

Act = Callable[[Target], None]
BOTH = Changes((), ("cpu0", "cpu1"), ())
ONE = Changes((), ("cpu0",), ())

CHECK = ["remove stage", "make_folders", "write_files etc", "run nginx -t", "run python -I"]
LOCAL_CHECK = ["run env -i", *CHECK, "remove stage"]
HOST_CHECK = [*CHECK, "run systemd-analyze verify", "remove stage"]
BEGIN = ["fleet_lock `up`", "port_claims", "make_folders", "run env -i", *["try_to_listen 127.0.0.1"] * 3]
BEGIN_RUNNING = ["fleet_lock `up`", "port_claims", "make_folders", *LOCAL_CHECK]
STOP = ["supervisord.stop balancer", "supervisord.stop cpu0 cpu1 reviver", "supervisord.shutdown"]
HOST_STOP = ["supervisord.stop balancer", "supervisord.stop cpu0 reviver", "supervisord.shutdown"]
CLEAR = [
    "remove supervisor.sock supervisord.pid nginx.pid nginx.loaded",
    "remove winding-down programs.json programs.prom quarantine room.sock",
]
RELOAD = [
    "write_text winding-down",
    "supervisord.signal balancer HUP",
    "remove winding-down",
    "write_text nginx.loaded",
]
NOTED = "write_text deployed.json"
ANSWERS = "  cpu0       answers the test picture"
RECOVERY = Holder("root", "starting supervisord again", 99, 0.0)


def replaced(name: str) -> list[str]:
    return [f"supervisord.{order} {name}" for order in ("stop", "remove", "add")]


class TestUp:
    def test_a_new_fleet_is_checked_put_in_place_and_started(self, tmp_path: Path) -> None:
        fleet, said = local_fleet(tmp_path), list[str]()
        machine = machine_with(fleet, said=said)
        up(fleet, machine)
        assert done(machine) == [*BEGIN, *LOCAL_CHECK[1:], "replace_etc", *CLEAR, "start_supervisord"]
        assert said[-1].startswith("up: 2 instances of release dev, ")

    def test_a_fleet_that_is_as_it_should_be_is_left_alone(self, tmp_path: Path) -> None:
        fleet, said = local_fleet(tmp_path), list[str]()
        put_in_place(fleet)
        machine = machine_with(fleet, runs=True, said=said)
        up(fleet, machine)
        assert done(machine) == [*BEGIN_RUNNING, "supervisord.reread"]
        assert said[-1].endswith("; nothing had to change")

    def test_a_running_fleet_is_changed_one_instance_after_the_other(self, tmp_path: Path) -> None:
        put_in_place(local_fleet(tmp_path))
        wanted = local_fleet(tmp_path, "r2")
        said = list[str]()
        machine = machine_with(wanted, runs=True, changes=BOTH, said=said)
        up(wanted, machine)
        assert said[0] == "changes: release dev -> r2 (what is not given has its default)"
        changed = [*replaced("cpu0"), *replaced("cpu1")]
        assert done(machine) == [*BEGIN_RUNNING, "replace_etc", "supervisord.reread", *changed]

    def test_a_failed_change_goes_back_to_what_ran(self, tmp_path: Path) -> None:
        put_in_place(local_fleet(tmp_path))
        wanted = local_fleet(tmp_path, "r2")
        machine = machine_with(wanted, runs=True, changes=BOTH, broken=["cpu1"])
        with pytest.raises(StartError, match="cpu1: ended while it started"):
            up(wanted, machine)
        begun = ["replace_etc", "supervisord.reread", *replaced("cpu0"), *replaced("cpu1")]
        # What is broken comes first.
        back = ["undisturbed", "replace_etc", "supervisord.reread", *replaced("cpu1"), *replaced("cpu0")]
        assert done(machine) == [*BEGIN_RUNNING, *begun, *back]
        assert in_place(wanted) == "dev"

    def test_a_fleet_that_was_to_stay_as_it_is_has_nothing_to_go_back_to(self, tmp_path: Path) -> None:
        fleet = local_fleet(tmp_path)
        put_in_place(fleet)
        machine = machine_with(fleet, runs=True, broken=["cpu1"])
        with pytest.raises(StartError, match="cpu1: ended while it started"):
            up(fleet, machine)
        tried_again = ["supervisord.stop cpu1", "supervisord.start cpu1"]
        assert done(machine) == [*BEGIN_RUNNING, "supervisord.reread", *tried_again, "undisturbed"]

    def test_a_new_fleet_that_does_not_start_is_stopped_again(self, tmp_path: Path) -> None:
        fleet, said = local_fleet(tmp_path), list[str]()
        machine = machine_with(fleet, broken=["cpu0"], said=said)
        with pytest.raises(StartError, match="cpu0: ended while it started"):
            up(fleet, machine)
        begun = [*BEGIN, *LOCAL_CHECK[1:], "replace_etc", *CLEAR, "start_supervisord"]
        assert done(machine) == [*begun, "undisturbed", *STOP, *CLEAR]
        assert any(line.startswith("failed: cpu0: ended") for line in said)

    def test_a_supervisord_that_never_answers_is_given_up(self, tmp_path: Path) -> None:
        fleet = local_fleet(tmp_path)
        machine = machine_with(fleet)
        machine.answers.update({"supervisord_listens": False, "processes": ()})
        with pytest.raises(StartError, match="supervisord: does not answer 30 s after its start"):
            up(fleet, machine)
        assert done(machine)[-4:] == ["start_supervisord", "undisturbed", *CLEAR]

    def test_an_interruption_stops_it_again_too(self, tmp_path: Path) -> None:
        fleet = local_fleet(tmp_path)
        machine = machine_with(fleet)
        machine.answers["start_supervisord"] = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            up(fleet, machine)
        assert done(machine)[-4:] == ["start_supervisord", "undisturbed", *CLEAR]

    def test_a_recovery_that_is_under_way_is_waited_for(self, tmp_path: Path) -> None:
        fleet, said = local_fleet(tmp_path), list[str]()
        put_in_place(fleet)
        machine = machine_with(fleet, runs=True, said=said)
        machine.answers["lock_holder"] = lambda lock: RECOVERY if machine.clock() < 2 else None
        up(fleet, machine)
        assert said[0].endswith("waiting until that is done") and machine.clock() >= 2
        assert done(machine) == [*BEGIN_RUNNING, "supervisord.reread"]

    @pytest.mark.parametrize(
        ("action", "answer", "error", "done_so_far"),
        [
            ("fleet_lock", ControlError(Problem("var", "busy", "wait")), ControlError, BEGIN[:1]),
            ("port_claims", PreflightError(Problem("port", "taken", "wait")), PreflightError, BEGIN[:2]),
            ("try_to_listen", Refusal("forbidden", "only root may", "be root"), PreflightError, BEGIN),
            ("run", Outcome(1, "nginx: [emerg] no such thing"), PreflightError, BEGIN),
        ],
    )
    def test_what_stands_in_the_way_changes_nothing(
        self, tmp_path: Path, action: str, answer: object, error: type[DeployError], done_so_far: list[str]
    ) -> None:
        fleet = local_fleet(tmp_path)
        machine = machine_with(fleet)
        machine.answers[action] = answer
        with pytest.raises(error):
            up(fleet, machine)
        assert done(machine) == done_so_far

    def test_a_configuration_that_nginx_refuses_is_never_put_in_place(self, tmp_path: Path) -> None:
        fleet = local_fleet(tmp_path)
        machine = machine_with(fleet)
        refused = Outcome(1, "nginx: [emerg] unknown directive")
        machine.answers["run"] = lambda command: refused if "-t" in command else Outcome(0, "")
        with pytest.raises(CheckError, match="unknown directive"):
            up(fleet, machine)
        assert done(machine) == [*BEGIN, *LOCAL_CHECK[1:]]


class TestDown:
    def test_the_balancer_goes_first_and_nothing_is_left(self, tmp_path: Path) -> None:
        fleet = local_fleet(tmp_path)
        put_in_place(fleet)
        machine = machine_with(fleet, runs=True)
        down(fleet.paths, machine)
        assert done(machine) == ["fleet_lock `down`", *STOP, *CLEAR]

    def test_a_recovery_that_is_under_way_is_ended_first(self, tmp_path: Path) -> None:
        fleet = local_fleet(tmp_path)
        put_in_place(fleet)
        machine = machine_with(fleet, runs=True)
        machine.answers["lock_holder"] = lambda lock: None if "signal_process" in machine.calls else RECOVERY
        down(fleet.paths, machine)
        assert done(machine) == ["signal_process", "fleet_lock `down`", *STOP, *CLEAR]

    def test_where_nothing_runs_nothing_is_done(self, tmp_path: Path) -> None:
        said = list[str]()
        machine = machine_with(local_fleet(tmp_path), said=said)
        down(local_fleet(tmp_path).paths, machine)
        assert (done(machine), len(said)) == ([], 1)


class TestRunWhileUp:
    def test_a_fleet_that_was_not_up_is_stopped_again(self, tmp_path: Path) -> None:
        fleet = local_fleet(tmp_path)
        machine = machine_with(fleet)
        assert run_while_up(fleet, ("true",), machine) == 0
        started = [*BEGIN, *LOCAL_CHECK[1:], "replace_etc", *CLEAR, "start_supervisord"]
        stopped = ["undisturbed", "fleet_lock `down`", *STOP, *CLEAR]
        assert done(machine) == [*started, "run_in_foreground true", *stopped]

    def test_a_fleet_that_is_up_is_used_and_left(self, tmp_path: Path) -> None:
        fleet = local_fleet(tmp_path)
        put_in_place(fleet)
        said = list[str]()
        machine = machine_with(fleet, runs=True, said=said)
        machine.answers["run_in_foreground"] = 3
        assert run_while_up(fleet, ("true",), machine) == 3
        assert done(machine) == ["run_in_foreground true"]
        assert said[0].startswith("already up, used as it is: 2 instances of release dev")

    def test_a_fleet_that_is_up_on_another_port_is_not_used(self, tmp_path: Path) -> None:
        fleet = local_fleet(tmp_path)
        put_in_place(fleet)
        machine = machine_with(fleet, runs=True)
        elsewhere = replace(fleet, balancer=replace(fleet.balancer, port=8081))
        with pytest.raises(ControlError, match="already up, on port 8080 instead of 8081"):
            run_while_up(elsewhere, ("true",), machine)
        assert done(machine) == []

    def test_a_command_that_lacks_something_starts_nothing(self, tmp_path: Path) -> None:
        fleet = local_fleet(tmp_path)
        machine = machine_with(fleet)
        machine.answers["run_in_foreground"] = 2
        assert run_while_up(fleet, ("true",), machine, check=True) == 2
        assert done(machine) == ["run_in_foreground true --check"]


class Ending:
    """A trial that ends by itself."""

    pid = 98

    def __init__(self, clock: Callable[[], float], lasts_s: float) -> None:
        self._clock, self._until = clock, clock() + lasts_s

    def poll(self) -> int | None:
        return 3 if self._clock() >= self._until else None


class Host:
    """A host with releases r1, r2, ..., and what is done to it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.text = inventory_in(folder)
        self.given = folder / "given.toml"
        self.given.write_text(self.text)
        self.said: list[str] = []
        self._releases = [release_in(folder, number) for number in (1, 2, 3)]

    def balance_over_another(self) -> None:
        self.text += '[[hosts]]\nname = "there"\naddress = "10.0.0.2"\ncpu = 1\n'
        self.text += '[balancer]\nmode = "one"\nhosts = ["here"]\n'
        self.given.write_text(self.text)

    def bundle_with_a_model(self) -> Path:
        """An unpacked bundle of the first release, which comes with a model."""
        release = self._folder / "install" / "releases" / R1
        bundle = self._folder / "bundle"
        (bundle / "model").mkdir(parents=True)
        (bundle / "model" / "m.onnx").touch()
        record = {"id": R1, "created": "", "python": "3", "machine": "any", "model": "m.onnx", "model_sha256": "0" * 64}
        (release / "release.json").write_text(json.dumps(record))
        (release / "SHA256SUMS").touch()
        self.text = self.text.replace('"simulated:"', '"m.onnx"')
        self.given.write_text(self.text)
        return bundle

    def machine(
        self,
        number: int,
        *,
        runs: bool = True,
        changes: Changes = ONE,
        broken: tuple[str, ...] = (),
        wrong: tuple[str, ...] = (),
    ) -> RecordedMachine:
        bare = target_of(self._folder, self._releases[number - 1], recorded())
        state = DesiredState(self.text, parse_inventory(self.text), "here", bare.release, ())
        fleet = expand(state, bare, bare.machine.devices())
        self.said = []
        return machine_with(fleet, runs=runs, changes=changes, broken=broken, wrong=wrong, said=self.said)

    def target(self, number: int, machine: RecordedMachine) -> Target:
        return target_of(self._folder, self._releases[number - 1], machine)

    def serve(self, *numbers: int) -> None:
        """Deploys releases, one after the other."""
        for number in numbers:
            deploy(Request(self.given), self.target(number, self.machine(number, runs=number > 1)))

    def history(self) -> tuple[str, ...]:
        """Ends of the ids of the current, the previous and the pending release."""
        known = read_history(self.target(1, recorded()).history)
        return tuple(one.release[-2:] if one else "" for one in (known.current, known.previous, known.pending))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    yield Host(tmp_path)
    shutil.rmtree(f"/run/framefleet-test-{tmp_path.name}", ignore_errors=True)


R1, R2, R3 = (f"2026010{number}T000000Z-r{number}" for number in (1, 2, 3))
PREPARE = ["deploy_lock deploy.lock", "run env -i"]
USER = ["ensure_user root root state", "make_host_folders"]


def tried(release: str) -> list[str]:
    return ["try_to_listen 127.0.0.1", f"trial_process python -m {release} trial.log root"]


def switched(release: str) -> list[str]:
    return ["replace_etc", f"point current {release}", "manager.install"]


class TestDeploy:
    def test_the_first_one_prepares_tries_and_starts(self, host: Host) -> None:
        machine = host.machine(1, runs=False)
        deploy(Request(host.given), host.target(1, machine))
        ports = ["try_to_listen 127.0.0.1", "try_to_listen 0.0.0.0"]
        prepared = [*PREPARE, *ports, *USER, *HOST_CHECK, *tried(R1)]
        started = [NOTED, *switched(R1), "manager.stop", *CLEAR, "manager.start"]
        assert done(machine) == [*prepared, *started, "write_text fleet.toml", NOTED]
        assert host.history() == ("r1", "", "")
        assert host.said[-4:-1] == [ANSWERS, f"{ANSWERS} through the balancer", "watching cpu0 for 8 s"]

    def test_the_next_one_changes_what_runs(self, host: Host) -> None:
        host.serve(1)
        machine = host.machine(2)
        deploy(Request(), host.target(2, machine))
        rolled = [NOTED, *switched(R2), "supervisord.reread", *replaced("cpu0"), *RELOAD]
        assert done(machine) == [*PREPARE, *USER, *HOST_CHECK, *tried(R2), *rolled, NOTED, f"point previous {R1}"]
        assert host.history() == ("r2", "r1", "")
        assert f"{ANSWERS} through the balancer" in host.said
        assert host.said[-2] == "watching cpu0 for 8 s"

    def test_a_model_in_the_bundle_is_placed(self, host: Host, tmp_path: Path) -> None:
        bundle = host.bundle_with_a_model()
        machine = host.machine(1, runs=False)
        deploy(Request(host.given, bundle=bundle), host.target(1, machine))
        at = done(machine).index("make_host_folders")
        assert done(machine)[at + 1] == "place_model m.onnx m.onnx"

    def test_what_answers_wrongly_once_it_serves_is_taken_back(self, host: Host) -> None:
        host.serve(1)
        machine = host.machine(2, wrong=("cpu0",))
        with pytest.raises(StartError, match=r"cpu0: finds .* in the test picture instead of"):
            deploy(Request(), host.target(2, machine))
        assert host.history() == ("r1", "", "")

    @pytest.mark.parametrize(
        ("lasts_s", "told"),
        [(0.0, "its trial ended with code 3"), (2.0, "its trial ended after it was ready with code 3")],
    )
    def test_a_trial_that_ends_changes_nothing(self, host: Host, lasts_s: float, told: str) -> None:
        machine = host.machine(1, runs=False, broken=() if lasts_s else ("trial",))
        machine.answers["trial_process"] = lambda *given: nullcontext(Ending(machine.clock, lasts_s))
        with pytest.raises(StartError, match=told):
            deploy(Request(host.given), host.target(1, machine))
        assert done(machine)[-1].startswith("trial_process")

    def test_a_trial_that_listens_elsewhere_changes_nothing(self, host: Host) -> None:
        machine = host.machine(1, runs=False, broken=("trial",))
        machine.answers["ports_of_session"] = frozenset({9999})
        with pytest.raises(StartError, match="its trial listens on port 9999 instead of 8102"):
            deploy(Request(host.given), host.target(1, machine))

    def test_what_fails_in_its_trial_changes_nothing(self, host: Host) -> None:
        host.serve(1)
        machine = host.machine(2, broken=("trial",))
        with pytest.raises(StartError, match="is not ready after 180 s: refuses connections; nothing was changed"):
            deploy(Request(), host.target(2, machine))
        assert done(machine) == [*PREPARE, *USER, *HOST_CHECK, *tried(R2)]
        assert host.history() == ("r1", "", "")

    def test_what_fails_once_it_serves_is_taken_back(self, host: Host) -> None:
        host.serve(1, 2)
        machine = host.machine(3, broken=("cpu0",))
        with pytest.raises(StartError, match="cpu0: ended while it started"):
            deploy(Request(), host.target(3, machine))
        failed = [NOTED, *switched(R3), "supervisord.reread", *replaced("cpu0")]
        back = ["undisturbed", *switched(R2), "supervisord.reread", *replaced("cpu0"), NOTED]
        assert done(machine) == [*PREPARE, *USER, *HOST_CHECK, *tried(R3), *failed, *back]
        assert host.history() == ("r2", "r1", "")
        assert host.said[-1] == f"back: release {R2} serves as before"

    def test_a_first_one_that_fails_leaves_nothing_that_a_boot_would_start(self, host: Host) -> None:
        machine = host.machine(1, runs=False, broken=("cpu0",))
        with pytest.raises(StartError):
            deploy(Request(host.given), host.target(1, machine))
        left = ["undisturbed", "manager.stop", *HOST_STOP, *CLEAR, "manager.remove", "remove current", NOTED]
        assert done(machine)[-len(left) :] == left
        assert host.history() == ("", "", "")

    def test_a_second_failure_is_told_and_left_to_the_next_deploy(self, host: Host) -> None:
        host.serve(1)
        machine = host.machine(2, broken=("cpu0",))
        target = host.target(2, machine)
        act = machine.answers["replace_etc"]
        given: list[object] = []

        def once(*arguments: object) -> None:
            given.append(arguments)
            if len(given) > 1:
                raise ControlError(Problem("etc", "disk is full", "make room"))
            act(*arguments)

        machine.answers["replace_etc"] = once
        with pytest.raises(StartError):
            deploy(Request(), target)
        assert done(machine)[-1] == "replace_etc"
        assert host.said[-1] == "going back failed too: etc: disk is full; make room"
        assert host.history() == ("r1", "", "r2")

    def test_a_host_that_cannot_take_it_is_left_alone(self, host: Host) -> None:
        machine = host.machine(1, runs=False)
        target = replace(host.target(1, machine), manager=Manager(machine, refuses=True))
        with pytest.raises(PreflightError, match="systemd"):
            deploy(Request(host.given), target)
        assert done(machine) == [*PREPARE, "try_to_listen 127.0.0.1", "try_to_listen 0.0.0.0"]

    def test_another_inventory_keeps_the_one_before(self, host: Host) -> None:
        host.serve(1)
        host.given.write_text(host.text + "# another\n")
        machine = host.machine(2)
        deploy(Request(host.given), host.target(2, machine))
        kept = ["write_text fleet.toml.replaced", "write_text fleet.toml", NOTED, f"point previous {R1}"]
        assert done(machine)[-len(kept) :] == kept

    def test_releases_beyond_the_newest_are_removed(self, host: Host, tmp_path: Path) -> None:
        host.serve(1, 2)
        for number in (4, 5, 6):
            release_in(tmp_path, number)
        machine = host.machine(3)
        deploy(Request(), host.target(3, machine))
        assert done(machine)[-1] == f"remove {R1}"


class TestRollback:
    def test_it_goes_back_without_a_trial(self, host: Host) -> None:
        host.serve(1, 2)
        machine = host.machine(1)
        rollback(host.target(2, machine))
        rolled = [NOTED, *switched(R1), "supervisord.reread", *replaced("cpu0")]
        assert done(machine) == ["deploy_lock deploy.lock", *HOST_CHECK, *rolled, NOTED, f"point previous {R2}"]
        assert host.history() == ("r1", "r2", "")

    def test_without_a_release_before_there_is_nothing_to_do(self, host: Host) -> None:
        host.serve(1)
        machine = host.machine(1)
        with pytest.raises(ControlError, match="nothing was deployed here before"):
            rollback(host.target(1, machine))
        assert done(machine) == ["deploy_lock deploy.lock"]


class TestDrain:
    @pytest.mark.parametrize("drained", [True, False])
    def test_the_balancer_alone_changes(self, host: Host, drained: bool) -> None:
        host.balance_over_another()
        host.serve(1)
        if not drained:
            drain("there", True, host.target(1, host.machine(1, changes=NO_CHANGES)))
        machine = host.machine(1, changes=NO_CHANGES)
        drain("there", drained, host.target(1, machine))
        changed = [NOTED, *switched(R1), "supervisord.reread", *RELOAD]
        assert done(machine) == ["deploy_lock deploy.lock", *HOST_CHECK, *changed, NOTED, f"point previous {R1}"]

    def test_an_unknown_host_changes_nothing(self, host: Host) -> None:
        host.serve(1)
        machine = host.machine(1)
        with pytest.raises(DeployError, match="nowhere"):
            drain("nowhere", True, host.target(1, machine))
        assert done(machine) == ["deploy_lock deploy.lock"]


class TestUndeploy:
    def test_everything_is_stopped_and_removed_in_the_end_itself(self, host: Host, tmp_path: Path) -> None:
        host.serve(1)
        machine = host.machine(1)
        undeploy(host.target(1, machine))
        stopped = ["manager.stop", *HOST_STOP, *CLEAR, "manager.remove"]
        folders = f"state framefleet-test-{tmp_path.name}"
        removed = f"remove rendered rendered.new rendered.previous fleet.toml fleet.toml.replaced {folders}"
        cleared = ["take_over log", removed, "remove_if_empty etc", "remove install"]
        assert done(machine) == ["deploy_lock deploy.lock", *stopped, *cleared]
        assert not (tmp_path / "install").exists()

    def test_a_user_that_a_deploy_made_goes_too(self, host: Host) -> None:
        machine = host.machine(1, runs=False)
        machine.answers["ensure_user"] = True
        deploy(Request(host.given), host.target(1, machine))
        machine = host.machine(1)
        undeploy(host.target(1, machine))
        assert "remove_user root" in done(machine)
