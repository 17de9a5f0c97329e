"""Changes what a host serves from one deployment to another, and back again if the other one fails.

Flow: [Deployment] -> check -> trial -> note -> switch -> roll -> prove -> note; on any failure: back.

`Proof`: what an instance that a deploy has started must show before the next one is touched.

It answers the test picture rightly, itself and through the balancer, and in the end all of them have lasted a while.

`try_instance`, `spare_port`: starts one instance of a new release on a spare port, before anything that serves is
touched.

Most of what can be wrong with a release shows here: it does not import, its model does not load, its self-test fails,
it listens elsewhere, it answers wrongly, it dies after some seconds.
"""

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from requests import Session

from deploy.checks.config_check import check_config
from deploy.checks.health import Endpoint, probe
from deploy.checks.known_picture import KnownPicture, accept, ask, model_of
from deploy.checks.own_key import own_key
from deploy.checks.preflight import port_problem
from deploy.describe.fleet_file import parse_inventory
from deploy.errors import CheckError, DeployError, Problem, StartError, raise_if
from deploy.fleet import LOOPBACK, MAX_PORT, PREFIX, Balancer, Fleet, Instance
from deploy.machine import run, run_host
from deploy.machine.control import UP_STATES, Control
from deploy.machine.logs import explain, size_of
from deploy.machine.processes import ports_of_session
from deploy.machine.run import INHERITED, INHERITED_PREFIXES
from deploy.machine.run_host import Child, trial_process
from deploy.machine.site import Site
from deploy.machine.world import World
from deploy.paths import Folders, Paths
from deploy.release import GOLDEN
from deploy.rollout.desired_state import desired_state_of, expand
from deploy.rollout.history import Deployment, History, to_json
from deploy.rollout.plan import Step
from deploy.rollout.readiness import READY_TIMEOUT_S, ReadinessWait
from deploy.rollout.rolling_update import roll_out
from deploy.rollout.stopping import answers, is_up, stop
from framefleet.http.session import open_session
from framefleet.wire.same import Detection

NAME = "trial"
FIX = "nothing was changed; correct the release or its model and deploy again"


PROOF_POLL_S = 0.2
SUPERVISOR_LIMIT_S = 30.0
POLL_S = 0.1
INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Trial:
    def __init__(self, process: Child, endpoint: Endpoint, session: Session, log: Path, world: World) -> None:
        self._process, self._endpoint, self._session, self._log, self._world = process, endpoint, session, log, world

    def wait_until_ready(self, port: int) -> None:
        deadline = self._world.clock() + READY_TIMEOUT_S
        while not (answer := probe(self._session, self._endpoint)).ready:
            self._raise_if_ended("")
            # It listens only once it can answer; so a port that is open and is not the one is the wrong one.
            if elsewhere := ports_of_session(self._process.pid) - {port}:
                raise self._error(f"listens on port {min(elsewhere)} instead of {port}")
            if self._world.clock() > deadline:
                raise self._error(f"is not ready after {READY_TIMEOUT_S:g} s: {answer.reason}")
            self._world.sleep(PROOF_POLL_S)

    def ask(self, picture: bytes, key: str) -> tuple[Detection, ...]:
        try:
            return ask(self._session, self._endpoint.url, picture, key).boxes
        except ValueError as error:
            raise self._error(str(error)) from None

    def watch(self, seconds: float) -> None:
        deadline = self._world.clock() + seconds
        while self._world.clock() < deadline:
            self._raise_if_ended(" after it was ready")
            self._world.sleep(PROOF_POLL_S)
        if not (answer := probe(self._session, self._endpoint)).ready:
            raise self._error(f"is no longer ready after {seconds:g} s: {answer.reason}")

    def _raise_if_ended(self, when: str) -> None:
        if (code := self._process.poll()) is not None:
            raise self._error(f"ended{when} with code {code}")

    def _error(self, what: str) -> StartError:
        reason = explain(self._log, 0)
        release = f"release {self._endpoint.release}"
        text = f"its trial {what}: {reason}" if reason else f"its trial {what}"
        return StartError(Problem(release, text, f"{FIX} (log: {self._log})"))


class Proof:
    """Checks the instances of one fleet as they are started.

    Args:
        fleet: what is deployed.
        before: what ran so far, and what the running balancer knows; None if nothing did.
        golden: the test picture.
        world: times it.
    """

    def __init__(self, fleet: Fleet, before: Fleet | None, golden: KnownPicture, world: World) -> None:
        self._fleet, self._golden, self._world = fleet, golden, world
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

    def finish(self, control: Control, steady_s: float) -> None:
        """Checks through the balancer what it did not know before, then waits whether all of them last.

        Args:
            control: their supervisord.
            steady_s: s that they have to last; 0 for a release that has proved itself before.

        Raises:
            StartError: one does not answer, or has ended.
        """
        for instance in self._unseen:
            self._check(instance, self._balancer)
        if self._started and steady_s:
            self._watch(control, steady_s)

    @property
    def _balancer(self) -> Balancer | None:
        return None if self._fleet.balancer.drained else self._fleet.balancer

    def _check(self, instance: Instance, balancer: Balancer | None) -> None:
        with open_session() as session:
            accept(session, instance, self._golden, balancer, self._world)
        through = " through the balancer" if balancer else ""
        self._world.say(f"  {instance.name:<10} answers the test picture{through}")

    def _watch(self, control: Control, seconds: float) -> None:
        names = [instance.name for instance in self._started]
        pids = {name: state.pid for name, state in control.states().items() if name in names}
        self._world.say(f"watching {', '.join(names)} for {seconds:g} s")
        deadline = self._world.clock() + seconds
        while self._world.clock() < deadline:
            self._world.sleep(PROOF_POLL_S)
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
    site: Site,
    *,
    trusted: bool,
    proven: Callable[[], None] = lambda: None,
) -> History:
    """Makes a deployment the one that serves; what served before serves on if that fails.

    Args:
        wanted: what to change to.
        history: what was deployed so far.
        site: the host.
        trusted: False for what has not proved itself yet: it is tried first and watched afterwards.
        proven: what else is done once it serves, before it is noted as done.

    Returns:
        The history from now on, noted.

    Raises:
        DeployError: says what failed; everything is as it was before.
    """
    say, before = site.world.say, history.current
    fleet = _fleet_of(wanted, site)
    say("== check: nginx, supervisor and systemd read the configuration")
    raise_if(CheckError, check_config(fleet, fleet.paths.stage))
    key = own_key(fleet, site.world.environ)
    golden = KnownPicture(_picture(fleet), _try(wanted, before, key, site) if not trusted else {}, key)
    history = _note(replace(history, pending=wanted), site)
    try:
        steps = _take_over(wanted, before, golden, site, steady_s=0 if trusted else site.steady_s)
    except BaseException as error:
        _go_back(wanted, history, error, site)
        raise
    proven()
    # A comment in fleet.toml is nothing to go back from.
    previous = before if before and before.files != wanted.files else history.previous
    history = _note(replace(history, current=wanted, previous=previous, pending=None), site)
    _point_previous(history, site)
    changed = "" if steps else "; nothing had to change"
    count = len(fleet.instances)
    say(f"deployed: {count} instance(s) of release {wanted.release} behind {fleet.balancer.url}{changed}")
    return history


def _try(wanted: Deployment, before: Deployment | None, key: str, site: Site) -> Mapping[str, tuple[Detection, ...]]:
    """Starts one instance per model beside what serves, if there is an instance that differs from what serves."""
    fleet = wanted.fleet
    new = wanted.new_programs(before)
    one_per_model = {model_of(instance): instance for instance in reversed(fleet.instances) if instance.name in new}
    right = {}
    for model, instance in one_per_model.items():
        site.world.say(f"== trial: one instance of release {fleet.release} with {instance.name}'s settings")
        user = fleet.unit.user if fleet.unit else ""
        right[model] = try_instance(
            fleet, instance, _picture(fleet), key=key, user=user, steady_s=site.steady_s, world=site.world
        )
    return right


def _take_over(
    wanted: Deployment, before: Deployment | None, golden: KnownPicture, site: Site, *, steady_s: float
) -> tuple[Step, ...]:
    fleet = _fleet_of(wanted, site)
    ran = _fleet_of(before, site) if before else None
    _switch(wanted, fleet, site)
    proof = Proof(fleet, ran, golden, site.world)
    if not is_up(fleet.paths):
        return _start(fleet, proof, site, steady_s)
    site.world.say(f"== roll: to release {fleet.release}")
    with Control(fleet.paths) as control:
        steps = roll_out(fleet, wanted.files, control, site.world, before=ran, accept=proof.accept)
        proof.finish(control, steady_s)
    return steps


def _switch(wanted: Deployment, fleet: Fleet, site: Site) -> None:
    """Puts files and links in place; what runs does not look at them until it is told to, or the host boots."""
    site.world.say(f"== switch: configuration and `current` to release {wanted.release}")
    if not run.holds(fleet.paths.etc, wanted.files):
        run.replace_etc(fleet.paths, wanted.files)
    run_host.point(_folders(wanted).current, fleet.code.repo)
    if fleet.unit and site.manager.install(wanted.texts[f"systemd/{fleet.unit.name}"]) and answers(fleet.paths):
        site.world.say(f"note: {fleet.unit.name} has changed; it takes effect when supervisord is started next")


def _start(fleet: Fleet, proof: Proof, site: Site, steady_s: float) -> tuple[Step, ...]:
    world = site.world
    world.say("== start: supervisord, the instances and the balancer")
    # One that is just failing, and what a killed one left.
    site.manager.stop()
    stop(fleet.paths, world)
    waiting = ReadinessWait(fleet, world)
    site.manager.start(fleet)
    deadline = world.clock() + SUPERVISOR_LIMIT_S
    while not answers(fleet.paths):
        if world.clock() > deadline:
            what = f"does not answer {SUPERVISOR_LIMIT_S:g} s after its start"
            raise StartError(Problem("supervisord", what, f"see {fleet.paths.log_of('supervisord')} and journalctl"))
        world.sleep(POLL_S)
    with Control(fleet.paths) as control:
        waiting.wait(control, fleet.programs)
        proof.accept(fleet.programs)
        proof.finish(control, steady_s)
    return (Step("start", fleet.programs),)


def _go_back(failed: Deployment, history: History, error: BaseException, site: Site) -> None:
    """Undoes a takeover; a second failure is told, and left to the next deploy."""
    reason = str(error) if isinstance(error, DeployError) else type(error).__name__
    site.world.say(f"failed: {reason}")
    # A second Ctrl-C must not leave the host half-way.
    with run.handling(dict.fromkeys(INTERRUPTIONS, lambda *_: None)):
        try:
            if history.current:
                _return_to(history.current, failed, site)
            else:
                _leave(failed, site)
        except DeployError as second:
            site.world.say(f"going back failed too: {second}")
        else:
            _note(replace(history, pending=None), site)


def _return_to(good: Deployment, failed: Deployment, site: Site) -> None:
    site.world.say(f"== back: to release {good.release}")
    key = own_key(_fleet_of(good, site), site.world.environ)
    _take_over(good, failed, KnownPicture(_picture_of(good), {}, key), site, steady_s=0)
    site.world.say(f"back: release {good.release} serves as before")


def _leave(failed: Deployment, site: Site) -> None:
    """There was nothing before: stops what was started, so that the next boot does not start it either."""
    site.world.say("== back: nothing was deployed before, so everything is stopped again")
    folders = _folders(failed)
    stop_for_good(folders.paths, site)
    run.remove(folders.current)


def stop_for_good(paths: Paths, site: Site) -> None:
    """Stops a host's fleet, and sees to it that no boot starts it again."""
    site.manager.stop()
    stop(paths, site.world)
    site.manager.remove()


def _fleet_of(deployment: Deployment, site: Site) -> Fleet:
    """What a deployment was rendered from; expanded anew if another version of the kit wrote it."""
    try:
        return deployment.fleet
    except ValueError:
        return expand(desired_state_of(deployment), site, site.devices())


def _note(history: History, site: Site) -> History:
    run.write_text(site.history, to_json(history), 0o600, durable=True)
    return history


def _point_previous(history: History, site: Site) -> None:
    if history.current and history.previous:
        folders = _folders(history.current)
        run_host.point(folders.previous, folders.releases / history.previous.release)


def _folders(deployment: Deployment) -> Folders:
    return parse_inventory(deployment.inventory).folders


def _picture(fleet: Fleet) -> bytes:
    return (fleet.code.repo / GOLDEN).read_bytes()


def _picture_of(deployment: Deployment) -> bytes:
    return (_folders(deployment).releases / deployment.release / GOLDEN).read_bytes()


def try_instance(
    fleet: Fleet, instance: Instance, picture: bytes, *, key: str, user: str, steady_s: float, world: World
) -> tuple[Detection, ...]:
    """Runs an instance as the fleet would, apart from its name and port.

    Args:
        fleet: of the new release.
        instance: whose device, model and settings are tried.
        picture: a JPEG it is asked about.
        key: API key to ask with; empty for none.
        user: who instances run as.
        steady_s: s that it has to last.
        world: times it.

    Returns:
        What it finds in the picture.

    Raises:
        StartError: it does not become ready, does not answer, or does not last.
    """
    port = spare_port(fleet)
    log = fleet.paths.state / f"{NAME}.log"
    code = fleet.code
    command = (str(code.python), "-m", "gunicorn", "-c", str(code.repo / "service" / "server" / "gunicorn.conf.py"))
    endpoint = Endpoint(NAME, f"http://{LOOPBACK}:{port}", NAME, fleet.release)
    environment = _environment(instance, port, world)
    with open_session() as session, trial_process(command, environment, code.repo, log, user) as process:
        trial = _Trial(process, endpoint, session, log, world)
        trial.wait_until_ready(port)
        boxes = trial.ask(picture, key)
        trial.watch(steady_s)
    return boxes


def spare_port(fleet: Fleet, in_use: Callable[[str, int], object] = port_problem) -> int:
    """A port just above the fleet's own that nobody uses."""
    own = {port for _, port in fleet.addresses}
    first = max((instance.port for instance in fleet.instances), default=8100) + 1
    for port in range(first, MAX_PORT):
        if port not in own and not in_use(LOOPBACK, port):
            return port
    raise StartError(Problem("trial", f"no port above {first} is free", "free one"))


def _environment(instance: Instance, port: int, world: World) -> dict[str, str]:
    kept = {k: v for k, v in world.environ.items() if k in INHERITED or k.startswith(INHERITED_PREFIXES)}
    own = {PREFIX + "HOST": LOOPBACK, PREFIX + "PORT": str(port), PREFIX + "INSTANCE": NAME}
    # A release that dies of its picture must not have that picture refused by the next one.
    shared = PREFIX + "QUARANTINE"
    return {**kept, **{k: v for k, v in instance.environment.items() if k != shared}, **own}
