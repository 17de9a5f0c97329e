"""What an instance that a deploy has started must show before the next one is touched.

It answers the test picture rightly, itself and through the balancer, and in the end all of them have lasted a while.
"""

from collections.abc import Sequence

from deploy.checks.golden import Golden, accept
from deploy.errors import Problem, StartError
from deploy.fleet import Balancer, Fleet, Instance
from deploy.machine.control import UP_STATES, Control
from deploy.machine.logs import explain, size_of
from deploy.machine.world import World
from framefleet.http.session import open_session

POLL_S = 0.2


class Proof:
    """Checks the instances of one fleet as they are started.

    Args:
        fleet: what is deployed.
        before: what ran so far, and what the running balancer knows; None if nothing did.
        golden: the test picture.
        world: times it.
    """

    def __init__(self, fleet: Fleet, before: Fleet | None, golden: Golden, world: World) -> None:
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
            self._world.sleep(POLL_S)
            states = control.states()
            for name in names:
                if states[name].state not in UP_STATES or states[name].pid != pids[name]:
                    raise self._ended(name, seconds)

    def _ended(self, name: str, seconds: float) -> StartError:
        log = self._fleet.paths.log_of(name)
        reason = explain(log, self._marks[name])
        what = f"ended within {seconds:g} s after it was ready"
        return StartError(Problem(name, f"{what}: {reason}" if reason else what, f"its log is {log}"))
