"""Waits for programs that were started, and says why if they do not come up."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from deploy.checks.health import Endpoint, Readiness, endpoints, probe, wait_ready
from deploy.errors import Problem, StartError
from deploy.fleet import Fleet
from deploy.machine.control import ENDED_STATES, Control
from deploy.machine.logs import explain, size_of
from deploy.machine.machine import Machine

READY_TIMEOUT_S = 180.0
PROGRESS_EVERY_S = 5.0


class ReadinessWait:
    """Waits for programs that are about to be started; make it before they are, so that it knows their logs' ends."""

    def __init__(self, fleet: Fleet, machine: Machine, *, quiet: bool = False) -> None:
        self._fleet, self._machine, self._quiet = fleet, machine, quiet
        self._marks = {name: size_of(fleet.paths.log_of(name)) for name in fleet.programs}
        self._next_progress = machine.clock() + PROGRESS_EVERY_S

    def wait(self, control: Control, names: Sequence[str]) -> None:
        """Waits until the programs answer that they are ready: the instances, then the balancer, which needs them.

        Raises:
            StartError: one ended, with its log's reason, or did not answer in time.
        """
        # An instance of another release has this one's port, or answers before it was replaced.
        wanted = {
            endpoint.name: replace(endpoint, release=self._fleet.release if endpoint.instance else "")
            for endpoint in endpoints(self._fleet)
            if endpoint.name in names
        }
        instances = tuple(endpoint for endpoint in wanted.values() if endpoint.instance)
        balancer = tuple(endpoint for endpoint in wanted.values() if not endpoint.instance)
        with self._machine.open_session() as session:
            for together in (instances, balancer):
                late = wait_ready(
                    together,
                    lambda endpoint: probe(session, endpoint),
                    lambda: self._watch(control, wanted),
                    self._show,
                    timeout_s=READY_TIMEOUT_S,
                    clock=self._machine.clock,
                    sleep=self._machine.sleep,
                )
                if late:
                    what = f"not ready after {READY_TIMEOUT_S:g} s"
                    raise StartError([self._problem(answer.name, f"{what}: {answer.reason}") for answer in late])

    def _watch(self, control: Control, wanted: Mapping[str, Endpoint]) -> None:
        states = {name: state for name, state in control.states().items() if name in wanted}
        for name, state in states.items():
            if state.state in ENDED_STATES:
                # One is enough: what ended a second one is mostly the same.
                raise StartError(self._problem(name, "ended while it started"))
        if self._machine.clock() >= self._next_progress:
            self._next_progress += PROGRESS_EVERY_S
            shown = ", ".join(f"{name} {state.state} for {state.uptime_s} s" for name, state in states.items())
            self._machine.say(f"  still waiting ({shown})")

    def _show(self, answer: Readiness, seconds: float) -> None:
        if not self._quiet:
            self._machine.say(f"  {answer.name:<10} {answer.url}  ready after {seconds:.1f} s")

    def _problem(self, name: str, what: str) -> Problem:
        log = self._fleet.paths.log_of(name)
        reason = explain(log, self._marks[name])
        return Problem(name, f"{what}: {reason}" if reason else what, f"its log is {log}")
