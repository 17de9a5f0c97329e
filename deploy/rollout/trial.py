"""Starts one instance of a new release on a spare port, before anything that serves is touched.

Most of what can be wrong with a release shows here: it does not import, its model does not load, its self-test fails,
it listens elsewhere, it answers wrongly, it dies after some seconds.
"""

from collections.abc import Callable
from pathlib import Path

from requests import Session

from deploy.checks.golden import ask
from deploy.checks.health import Endpoint, probe
from deploy.checks.preflight import port_problem
from deploy.checks.smoke import Box
from deploy.errors import Problem, StartError
from deploy.fleet import LOOPBACK, MAX_PORT, PREFIX, Fleet, Instance
from deploy.machine.logs import explain
from deploy.machine.processes import ports_of_session
from deploy.machine.run import INHERITED, INHERITED_PREFIXES
from deploy.machine.run_host import Child, trial_process
from deploy.machine.world import World
from deploy.rollout.waiting import READY_TIMEOUT_S
from framefleet.http.session import open_session

NAME = "trial"
POLL_S = 0.2
FIX = "nothing was changed; correct the release or its model and deploy again"


def try_instance(
    fleet: Fleet, instance: Instance, picture: bytes, *, key: str, user: str, steady_s: float, world: World
) -> tuple[Box, ...]:
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
            self._world.sleep(POLL_S)

    def ask(self, picture: bytes, key: str) -> tuple[Box, ...]:
        try:
            return ask(self._session, self._endpoint.url, picture, key).boxes
        except ValueError as error:
            raise self._error(str(error)) from None

    def watch(self, seconds: float) -> None:
        deadline = self._world.clock() + seconds
        while self._world.clock() < deadline:
            self._raise_if_ended(" after it was ready")
            self._world.sleep(POLL_S)
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
