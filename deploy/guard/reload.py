"""Lets the running nginx take over new files without losing a request.

When nginx reloads, its old workers drop the connections that are idle at that moment, and a request that is already on
its way on one of them fails. So the balancer is first told to end each connection with its next answer: clients open a
new one for every request meanwhile, and nothing is idle when the reload comes. (nginx 1.27.4 has
`keepalive_min_timeout` for this; older ones have nothing.)
"""

from deploy.errors import ControlError, Problem
from deploy.fleet import Balancer
from deploy.machine.control import Control
from deploy.machine.logs import nginx_refusal, size_of
from deploy.machine.machine import Machine
from deploy.machine.processes import serving_workers
from deploy.paths import Paths

# A client that sends more often than this has no idle connection left when the reload comes.
WIND_DOWN_S = 2.0
RELOAD_LIMIT_S = 30.0
POLL_S = 0.05


def reload_balancer(paths: Paths, control: Control, machine: Machine) -> None:
    """Winds connections down, reloads, and waits until no old worker takes requests any more.

    Raises:
        ControlError: nginx went on with its old files.
    """
    old, log = serving_workers(paths), paths.log_of(Balancer.name)
    machine.write_text(paths.winding_down, "")
    try:
        machine.sleep(WIND_DOWN_S)
        mark = size_of(log)
        control.signal(Balancer.name, "HUP")
        deadline = machine.clock() + RELOAD_LIMIT_S
        while old & serving_workers(paths):
            if reason := nginx_refusal(log, mark):
                raise ControlError(
                    Problem(Balancer.name, f"nginx refuses its new files: [emerg] {reason}", f"its log is {log}")
                )
            if machine.clock() > deadline:
                what = f"nginx still runs with its old files {RELOAD_LIMIT_S:g} s after the reload"
                raise ControlError(Problem(Balancer.name, what, f"its log is {log}"))
            machine.sleep(POLL_S)
    finally:
        machine.remove(paths.winding_down)
