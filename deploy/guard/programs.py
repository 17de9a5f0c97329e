"""What every program of a machine is doing, for the fleet page, `make status` and Prometheus.

Flow: [ProgramState...] -> Programs -> [Program...] -> programs.json, programs.prom, which nginx hands out.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from deploy.machine.control import ProgramState

STATES = ("STOPPED", "STARTING", "RUNNING", "BACKOFF", "STOPPING", "EXITED", "FATAL", "UNKNOWN")


@dataclass(frozen=True, slots=True)
class Program:
    """One supervisor program.

    Attributes:
        name: its name.
        state: supervisor's word.
        pid: 0 if no process runs.
        uptime_s: s since its process was started.
        restarts: how often another process took its place since the reviver started.
        instance: True for an instance, False for what serves it.
    """

    name: str
    state: str
    pid: int
    uptime_s: int
    restarts: int
    instance: bool


class Programs:
    """Counts restarts, which supervisord does not.

    Args:
        others: programs that are no instances.
    """

    def __init__(self, others: frozenset[str]) -> None:
        self._others = others
        self._pids: dict[str, int] = {}
        self._restarts: dict[str, int] = {}

    def observe(self, states: Mapping[str, ProgramState]) -> tuple[Program, ...]:
        """Takes the states as they are now; a process that came and went in between is not seen."""
        for name in self._pids.keys() - states.keys():
            del self._pids[name], self._restarts[name]
        for state in states.values():
            before = self._pids.setdefault(state.name, state.pid)
            self._restarts.setdefault(state.name, 0)
            if state.pid and state.pid != before:
                self._restarts[state.name] += before != 0
                self._pids[state.name] = state.pid
        return tuple(
            Program(
                name=state.name,
                state=state.state,
                pid=state.pid,
                uptime_s=state.uptime_s,
                restarts=self._restarts[state.name],
                instance=state.name not in self._others,
            )
            for state in states.values()
        )


def to_json(programs: Iterable[Program]) -> str:
    """Writes what the fleet page reads."""
    return json.dumps({"programs": [asdict(program) for program in programs]})


def to_metrics(programs: Iterable[Program], certificate_expires: float | None) -> str:
    """Writes what Prometheus reads.

    Args:
        programs: as they are now.
        certificate_expires: Unix time, s; None without TLS.
    """
    listed = tuple(programs)
    lines = ["# TYPE framefleet_program_state gauge"]
    lines += [
        f'framefleet_program_state{{program="{program.name}",state="{state}"}} {int(program.state == state)}'
        for program in listed
        for state in STATES
    ]
    lines.append("# TYPE framefleet_program_restarts_total counter")
    lines += [f'framefleet_program_restarts_total{{program="{row.name}"}} {row.restarts}' for row in listed]
    if certificate_expires is not None:
        lines += ["# TYPE framefleet_certificate_expires_seconds gauge"]
        lines.append(f"framefleet_certificate_expires_seconds {certificate_expires:.0f}")
    return "\n".join(lines) + "\n"
