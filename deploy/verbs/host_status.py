"""What `framefleet status` shows of a host: a row per program, with what its GPU and its clients see.

Flow: [Fleet] + [ProgramState...] + programs.json + each instance's /status -> [HostRow...] -> table.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from deploy.checks.health import PROBE_TIMEOUT_S, Readiness
from deploy.errors import ControlError
from deploy.fleet import Fleet, Instance
from deploy.machine.control import UP_STATES, ProgramState
from deploy.machine.run_files import read_state
from deploy.verbs.status import columns, duration, seen, state_word

HEADER = ("PROGRAM", "GPU", "RELEASE", "STATE", "UPTIME", "RESTARTS", "RATE", "P95", "READY")
DEVICE_LETTERS = 12
UNKNOWN = "-"


@dataclass(frozen=True, slots=True)
class Recent:
    """What an instance says of its last minute: answers a second, and the 95th percentile of their time, ms."""

    rate: float
    p95_ms: float | None


@dataclass(frozen=True, slots=True)
class HostRow:
    """One program.

    Attributes:
        name: of the program.
        device: what an instance computes on; empty for other programs.
        state: as supervisord sees it.
        readiness: as it answers itself.
        restarts: since the reviver started; None if nobody counts.
        recent: None for what is no instance, or does not answer.
    """

    name: str
    device: str
    state: ProgramState
    readiness: Readiness
    restarts: int | None
    recent: Recent | None

    @property
    def well(self) -> bool:
        """True if the process runs, or counts as starting, and answers that it is ready."""
        return self.state.state in UP_STATES and self.readiness.ready


def host_rows(
    fleet: Fleet,
    states: Mapping[str, ProgramState],
    answers: Mapping[str, Readiness],
    recent: Mapping[str, Recent | None],
) -> tuple[HostRow, ...]:
    """Joins, by name, what should run with what runs, answers and was counted."""
    restarts = read_restarts(fleet.paths.programs_json)
    names = (*fleet.programs, *fleet.watchers)
    known = {name: ProgramState(name, "MISSING", 0, 0, "") for name in names} | dict(states)
    devices = {instance.name: instance.device for instance in fleet.instances}
    return tuple(
        HostRow(
            name=name,
            device=devices.get(name, ""),
            state=known[name],
            readiness=answers.get(name) or seen(known[name]),
            restarts=restarts.get(name),
            recent=recent.get(name),
        )
        for name in names
    )


def read_recent(session: requests.Session, instance: Instance) -> Recent | None:
    """Asks an instance for its last minute; None if it does not say."""
    try:
        figures: Any = session.get(f"{instance.url}/status", timeout=PROBE_TIMEOUT_S).json()["recent"]
        return Recent(float(figures["rate"]), None if figures["p95_ms"] is None else float(figures["p95_ms"]))
    except (requests.RequestException, ValueError, KeyError, TypeError):
        return None


def read_restarts(file: Path) -> dict[str, int]:
    """What the reviver counted; nothing where it has not written yet."""
    try:
        return {str(row["name"]): int(row["restarts"]) for row in json.loads(read_state(file))["programs"]}
    except (OSError, ControlError, ValueError, KeyError, TypeError, ArithmeticError, RecursionError):
        return {}


def host_table(rows: tuple[HostRow, ...]) -> str:
    """Lays the rows out in columns."""
    return columns([HEADER, *(_cells(row) for row in rows)])


def _cells(row: HostRow) -> tuple[str, ...]:
    uptime = duration(row.state.uptime_s) if row.state.pid else UNKNOWN
    restarts = UNKNOWN if row.restarts is None else str(row.restarts)
    rate = f"{row.recent.rate:.1f}/s" if row.recent else UNKNOWN
    p95 = f"{row.recent.p95_ms:.1f} ms" if row.recent and row.recent.p95_ms is not None else UNKNOWN
    reason = "; ".join(text for text in (row.state.reason, row.readiness.reason) if text)
    ready = "yes" if row.readiness.ready else f"no: {reason}"
    device = row.device[:DEVICE_LETTERS] or UNKNOWN
    state = state_word(row.state.state, row.readiness.ready)
    return (row.name, device, row.readiness.release or UNKNOWN, state, uptime, restarts, rate, p95, ready)
