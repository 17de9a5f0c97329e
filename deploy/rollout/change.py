"""Changes what serves from one fleet to another, and back again if the other one fails.

Flow: [Fleet] + files -> switch -> start, or roll -> acceptance test; `make up` and a host's deploy both go this way.
A deploy adds: [Deployment] -> check -> trial -> note -> take over -> note; on any failure: back.

`AcceptanceTest`: what an instance that was started must show before the next one is touched.

Where there is a test picture, as in a release, it answers that rightly, itself and through the balancer, and in the end
all of them have lasted a while.

`try_instance`, `spare_port`: starts one instance of a new release on a spare port, before anything that serves is
touched.

Most of what can be wrong with a release shows here: it does not import, its model does not load, its self-test fails,
it listens elsewhere, it answers wrongly, it dies after some seconds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from requests import Session

from deploy.checks.config_check import check_config
from deploy.checks.health import Endpoint, probe
from deploy.checks.known_picture import KnownPicture, accept, ask, model_of
from deploy.checks.own_key import own_key
from deploy.errors import CheckError, DeployError, Problem, StartError, raise_if
from deploy.fleet import LOOPBACK, MAX_PORT, PREFIX, Balancer, Fleet, Instance
from deploy.machine.control import UP_STATES, Control
from deploy.machine.logs import explain, size_of
from deploy.machine.machine import Machine
from deploy.machine.run import INHERITED, INHERITED_PREFIXES, holds
from deploy.machine.run_host import Child
from deploy.machine.service_manager import ServiceManager
from deploy.machine.target import Target
from deploy.paths import Paths
from deploy.release import TEST_PICTURE
from deploy.rendered_file import RenderedFile
from deploy.rollout.desired_state import desired_state_of, expand
from deploy.rollout.history import Deployment, History, to_json
from deploy.rollout.preflight import port_problem
from deploy.rollout.readiness import READY_TIMEOUT_S, ReadinessWait
from deploy.rollout.rolling_update import Step, roll_out
from deploy.rollout.stopping import is_up, stop
from framefleet.wire.answers import Detection

NAME = "trial"
FIX = "nothing was changed; correct the release or its model and deploy again"
WATCH_POLL_S = 0.2
SUPERVISOR_LIMIT_S = 30.0
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class _Trial:
    """An instance of a new release, its `process` and `log`, on a spare port; nothing depends on it."""

    process: Child
    endpoint: Endpoint
    session: Session
    log: Path
    machine: Machine

    def wait_until_ready(self, port: int) -> None:
        deadline = self.machine.clock() + READY_TIMEOUT_S
        while not (answer := probe(self.session, self.endpoint)).ready:
            self._raise_if_ended("")
            # It listens only once it can answer; so a port that is open and is not the one is the wrong one.
            if elsewhere := self.machine.ports_of_session(self.process.pid) - {port}:
                raise self._error(f"listens on port {min(elsewhere)} instead of {port}")
            if self.machine.clock() > deadline:
                raise self._error(f"is not ready after {READY_TIMEOUT_S:g} s: {answer.reason}")
            self.machine.sleep(WATCH_POLL_S)

    def ask(self, picture: bytes, key: str) -> tuple[Detection, ...]:
        try:
            return ask(self.session, self.endpoint.url, picture, key).boxes
        except ValueError as error:
            raise self._error(str(error)) from None

    def watch(self, seconds: float) -> None:
        deadline = self.machine.clock() + seconds
        while self.machine.clock() < deadline:
            self._raise_if_ended(" after it was ready")
            self.machine.sleep(WATCH_POLL_S)
        if not (answer := probe(self.session, self.endpoint)).ready:
            raise self._error(f"is no longer ready after {seconds:g} s: {answer.reason}")

    def _raise_if_ended(self, when: str) -> None:
        if (code := self.process.poll()) is not None:
            raise self._error(f"ended{when} with code {code}")

    def _error(self, what: str) -> StartError:
        reason = explain(self.log, 0)
        release = f"release {self.endpoint.release}"
        text = f"its trial {what}: {reason}" if reason else f"its trial {what}"
        return StartError(Problem(release, text, f"{FIX} (log: {self.log})"))


class AcceptanceTest:
    """Checks the instances of one fleet as they are started.

    Args:
        fleet: what is started.
        before: what ran so far, and what the running balancer knows; None if nothing did.
        picture: what they are asked; None where there is none, as in a checkout.
        machine: times it.
        steady_s: s that they have to last; 0 for what has proved itself before.
    """

    def __init__(
        self,
        fleet: Fleet,
        before: Fleet | None,
        picture: KnownPicture | None,
        machine: Machine,
        steady_s: float = 0.0,
    ) -> None:
        self.before, self.machine = before, machine
        self._fleet, self._picture, self._steady_s = fleet, picture, steady_s
        self._known = {(i.host, i.port) for i in before.instances} if before else set()
        self._marks = {i.name: size_of(fleet.paths.log_of(i.name)) for i in fleet.instances}
        self._started: list[Instance] = []
        self._unseen: list[Instance] = []

    def accept(self, names: Sequence[str]) -> None:
        """Checks instances that were just started.

        Raises:
            StartError: an answer is missing or wrong.
        """
        for instance in self._fleet.instances:
            if instance.name in names:
                known = (instance.host, instance.port) in self._known
                self._check(instance, self._balancer if known else None)
                self._started.append(instance)
                if not known:
                    self._unseen.append(instance)

    def finish(self, control: Control) -> None:
        """Checks through the balancer what it did not know before, then waits whether all of them last.

        Args:
            control: their supervisord.

        Raises:
            StartError: one does not answer, or has ended.
        """
        for instance in self._unseen:
            self._check(instance, self._balancer)
        if self._started and self._steady_s:
            self._watch(control, self._steady_s)

    @property
    def _balancer(self) -> Balancer | None:
        return None if self._fleet.balancer.drained else self._fleet.balancer

    def _check(self, instance: Instance, balancer: Balancer | None) -> None:
        if not self._picture:
            return
        with self.machine.open_session() as session:
            accept(session, instance, self._picture, balancer, self.machine)
        through = " through the balancer" if balancer else ""
        self.machine.say(f"  {instance.name:<10} answers the test picture{through}")

    def _watch(self, control: Control, seconds: float) -> None:
        names = [instance.name for instance in self._started]
        pids = {name: state.pid for name, state in control.states().items() if name in names}
        self.machine.say(f"watching {', '.join(names)} for {seconds:g} s")
        deadline = self.machine.clock() + seconds
        while self.machine.clock() < deadline:
            self.machine.sleep(WATCH_POLL_S)
            states = control.states()
            for name in names:
                if states[name].state not in UP_STATES or states[name].pid != pids[name]:
                    raise self._ended(name, seconds)

    def _ended(self, name: str, seconds: float) -> StartError:
        log = self._fleet.paths.log_of(name)
        reason = explain(log, self._marks[name])
        what = f"ended within {seconds:g} s after it was ready"
        return StartError(Problem(name, f"{what}: {reason}" if reason else what, f"its log is {log}"))


def change(
    wanted: Deployment,
    history: History,
    target: Target,
    *,
    trusted: bool,
    proven: Callable[[], None] = lambda: None,
) -> History:
    """Makes a deployment the one that serves; what served before serves on if that fails.

    Args:
        wanted: what to change to.
        history: what was deployed so far.
        target: the host.
        trusted: False for what has not proved itself yet: it is tried first and watched afterwards.
        proven: what else is done once it serves, before it is noted as done.

    Returns:
        The history from now on, noted.

    Raises:
        DeployError: says what failed; everything is as it was before.
    """
    machine, before = target.machine, history.current
    fleet = _fleet_of(wanted, target)
    machine.say("== check: nginx, supervisor and systemd read the configuration")
    raise_if(CheckError, check_config(fleet, fleet.paths.stage, machine))
    key = own_key(fleet, machine.environ)
    known = KnownPicture(_picture_of(wanted), _try(wanted, before, key, target) if not trusted else {}, key)
    history = _note(replace(history, pending=wanted), target)

    def back() -> None:
        if before:
            _return_to(before, wanted, target)
        else:
            _leave(wanted, target)
        _note(replace(history, pending=None), target)

    with going_back(machine, back):
        steps = _deploy(wanted, before, known, target, steady_s=0 if trusted else target.steady_s)
    proven()
    # A comment in fleet.toml is nothing to go back from.
    previous = before if before and before.files != wanted.files else history.previous
    history = _note(replace(history, current=wanted, previous=previous, pending=None), target)
    if previous:
        machine.point(wanted.folders.previous, wanted.folders.releases / previous.release)
    changed = "" if steps else "; nothing had to change"
    count = len(fleet.instances)
    machine.say(f"deployed: {count} instance(s) of release {wanted.release} behind {fleet.balancer.url}{changed}")
    return history


def _try(
    wanted: Deployment, before: Deployment | None, key: str, target: Target
) -> Mapping[str, tuple[Detection, ...]]:
    """Starts one instance per model beside what serves, if there is an instance that differs from what serves."""
    fleet, machine = wanted.fleet, target.machine
    new = wanted.new_programs(before)
    one_per_model = {model_of(instance): instance for instance in reversed(fleet.instances) if instance.name in new}
    right = {}
    for model, instance in one_per_model.items():
        machine.say(f"== trial: one instance of release {fleet.release} with {instance.name}'s settings")
        user = fleet.unit.user if fleet.unit else ""
        picture = _picture_of(wanted)
        right[model] = try_instance(
            fleet, instance, picture, key=key, user=user, steady_s=target.steady_s, machine=machine
        )
    return right


def _deploy(
    wanted: Deployment, before: Deployment | None, known: KnownPicture, target: Target, *, steady_s: float
) -> tuple[Step, ...]:
    fleet, machine = _fleet_of(wanted, target), target.machine
    ran = _fleet_of(before, target) if before else None
    machine.say(f"== switch: configuration and `current` to release {wanted.release}")
    switch_files(fleet.paths, wanted.files, machine)
    machine.point(wanted.folders.current, fleet.code.repo)
    unit = fleet.unit
    changed = unit and target.manager.install(wanted.texts[f"systemd/{unit.name}"])
    if unit and changed and machine.supervisord_listens(fleet.paths):
        machine.say(f"note: {unit.name} has changed; it takes effect when supervisord is started next")
    return take_over(fleet, wanted.files, target.manager, AcceptanceTest(fleet, ran, known, machine, steady_s))


def switch_files(paths: Paths, files: Sequence[RenderedFile], machine: Machine) -> None:
    """Puts files in place; what runs does not look at them until it is told to, or the host boots."""
    if not holds(paths.etc, files):
        machine.replace_etc(paths, files)


def take_over(
    fleet: Fleet, files: Sequence[RenderedFile], manager: ServiceManager, test: AcceptanceTest
) -> tuple[Step, ...]:
    """Starts a fleet whose files are in place, or changes the one that runs step by step.

    Args:
        fleet: what is wanted.
        files: the fleet's, as they were rendered.
        manager: keeps its supervisord alive.
        test: what instances that are started must show.

    Returns:
        The steps that were taken; empty if nothing had to change.

    Raises:
        DeployError: a step failed; those before it stay done.
    """
    machine = test.machine
    if not is_up(fleet.paths, machine):
        return _start(fleet, manager, test)
    machine.say(f"== roll: to release {fleet.release}")
    with machine.control(fleet.paths) as control:
        steps = roll_out(fleet, files, control, machine, before=test.before, accept=test.accept)
        test.finish(control)
    return steps


def _start(fleet: Fleet, manager: ServiceManager, test: AcceptanceTest) -> tuple[Step, ...]:
    machine = test.machine
    machine.say("== start: supervisord, the instances and the balancer")
    # One that is just failing, and what a killed one left.
    manager.stop()
    stop(fleet.paths, machine)
    waiting = ReadinessWait(fleet, machine)
    manager.start(fleet)
    deadline = machine.clock() + SUPERVISOR_LIMIT_S
    while not machine.supervisord_listens(fleet.paths):
        if machine.clock() > deadline:
            what = f"does not answer {SUPERVISOR_LIMIT_S:g} s after its start"
            raise StartError(Problem("supervisord", what, f"see {fleet.paths.log_of('supervisord')} and journalctl"))
        machine.sleep(POLL_S)
    machine.say(f"started supervisord; waiting for {len(fleet.instances)} instance(s) and the balancer")
    with machine.control(fleet.paths) as control:
        waiting.wait(control, fleet.programs)
        test.accept(fleet.programs)
        test.finish(control)
    return (Step("start", fleet.programs),)


@contextmanager
def going_back(machine: Machine, back: Callable[[], None]) -> Iterator[None]:
    """Undoes what was begun if it fails or is interrupted; a second failure is told, and left to the next attempt."""
    try:
        yield
    except BaseException as error:
        machine.say(f"failed: {error if isinstance(error, DeployError) else type(error).__name__}")
        # A second Ctrl-C must not leave all this half-way.
        with machine.undisturbed():
            try:
                back()
            except DeployError as second:
                machine.say(f"going back failed too: {second}")
        raise


def _return_to(good: Deployment, failed: Deployment, target: Target) -> None:
    target.machine.say(f"== back: to release {good.release}")
    key = own_key(_fleet_of(good, target), target.machine.environ)
    _deploy(good, failed, KnownPicture(_picture_of(good), {}, key), target, steady_s=0)
    target.machine.say(f"back: release {good.release} serves as before")


def _leave(failed: Deployment, target: Target) -> None:
    """There was nothing before: stops what was started, so that the next boot does not start it either."""
    target.machine.say("== back: nothing was deployed before, so everything is stopped again")
    stop_for_good(failed.folders.paths, target)
    target.machine.remove(failed.folders.current)


def stop_for_good(paths: Paths, target: Target) -> None:
    """Stops a host's fleet, and sees to it that no boot starts it again."""
    target.manager.stop()
    stop(paths, target.machine)
    target.manager.remove()


def _fleet_of(deployment: Deployment, target: Target) -> Fleet:
    """What a deployment was rendered from; expanded anew if another version of the kit wrote it."""
    try:
        return deployment.fleet
    except ValueError:
        return expand(desired_state_of(deployment), target, target.machine.devices())


def _note(history: History, target: Target) -> History:
    target.machine.write_text(target.history, to_json(history), 0o600, durable=True)
    return history


def _picture_of(deployment: Deployment) -> bytes:
    return (deployment.folders.releases / deployment.release / TEST_PICTURE).read_bytes()


def try_instance(
    fleet: Fleet, instance: Instance, picture: bytes, *, key: str, user: str, steady_s: float, machine: Machine
) -> tuple[Detection, ...]:
    """Runs an instance as the fleet would, apart from its name and port.

    Args:
        fleet: of the new release.
        instance: whose device, model and settings are tried.
        picture: a JPEG it is asked about.
        key: API key to ask with; empty for none.
        user: who instances run as.
        steady_s: s that it has to last.
        machine: times it.

    Returns:
        What it finds in the picture.

    Raises:
        StartError: it does not become ready, does not answer, or does not last.
    """
    port = spare_port(fleet, machine)
    log = fleet.paths.state / f"{NAME}.log"
    code = fleet.code
    command = (str(code.python), "-m", "gunicorn", "-c", str(code.repo / "service" / "server" / "gunicorn.conf.py"))
    endpoint = Endpoint(NAME, f"http://{LOOPBACK}:{port}", NAME, fleet.release)
    environment = _environment(instance, port, machine)
    with (
        machine.open_session() as session,
        machine.trial_process(command, environment, code.repo, log, user) as process,
    ):
        trial = _Trial(process, endpoint, session, log, machine)
        trial.wait_until_ready(port)
        boxes = trial.ask(picture, key)
        trial.watch(steady_s)
    return boxes


def spare_port(fleet: Fleet, machine: Machine) -> int:
    """A port just above the fleet's own that nobody uses."""
    own = {port for _, port in fleet.addresses}
    first = max((instance.port for instance in fleet.instances), default=8100) + 1
    for port in range(first, MAX_PORT):
        if port not in own and not port_problem(LOOPBACK, port, machine):
            return port
    raise StartError(Problem("trial", f"no port above {first} is free", "free one"))


def _environment(instance: Instance, port: int, machine: Machine) -> dict[str, str]:
    kept = {k: v for k, v in machine.environ.items() if k in INHERITED or k.startswith(INHERITED_PREFIXES)}
    own = {PREFIX + "HOST": LOOPBACK, PREFIX + "PORT": str(port), PREFIX + "INSTANCE": NAME}
    # A release that dies of its picture must not have that picture refused by the next one.
    shared = PREFIX + "QUARANTINE"
    return {**kept, **{k: v for k, v in instance.environment.items() if k != shared}, **own}
