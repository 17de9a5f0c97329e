"""What `status` shows: one row per program, from what supervisord and the programs themselves say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deploy.checks.health import Readiness
from deploy.fleet import Fleet
from deploy.machine.control import UP_STATES, ProgramState
from deploy.machine.processes import is_stopped

HEADER = ("PROGRAM", "STATE", "PID", "UPTIME", "PORT", "READY", "RELEASE")
SETTLING = "up, settling"
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400


@dataclass(frozen=True, slots=True)
class Row:
    """One program.

    Attributes:
        name: of the program.
        state: supervisor's word.
        pid: 0 if no process runs.
        uptime_s: s since its process started.
        port: where it listens; 0 if nowhere.
        readiness: what it said.
        reason: why it is not well; empty if it is.
    """

    name: str
    state: str
    pid: int
    uptime_s: int
    port: int
    readiness: Readiness
    reason: str

    @property
    def well(self) -> bool:
        """True if the process runs, or counts as starting, and answers that it is ready."""
        return self.state in UP_STATES and self.readiness.ready


def rows(fleet: Fleet, states: Mapping[str, ProgramState], answers: Sequence[Readiness]) -> tuple[Row, ...]:
    """Joins, by name, what the fleet should be with what runs and what answers, or is no server and just runs."""
    ports = {server.name: server.port for server in fleet.servers}
    missing = {name: ProgramState(name, "MISSING", 0, 0, "") for name in (*ports, *fleet.watchers)}
    known = {**missing, **states}
    watchers = (seen(known[name]) for name in fleet.watchers)
    return tuple(_row(known[answer.name], ports.get(answer.name, 0), answer) for answer in (*answers, *watchers))


def seen(program: ProgramState) -> Readiness:
    """What is seen of a program that answers nobody: whether its process can run."""
    stopped = program.state in UP_STATES and is_stopped(program.pid)
    reason = f"is stopped; kill -CONT {program.pid}" if stopped else "" if program.pid else "does not run"
    return Readiness(program.name, "", not reason, "", reason)


def _row(program: ProgramState, port: int, answer: Readiness) -> Row:
    reason = "; ".join(text for text in (program.reason, answer.reason) if text)
    return Row(program.name, program.state, program.pid, program.uptime_s, port, answer, reason)


def table(shown: Sequence[Row]) -> str:
    """Lays the rows out in columns."""
    return columns([HEADER, *(_cells(row) for row in shown)])


def columns(cells: Sequence[tuple[str, ...]]) -> str:
    """Lays lines of equally many cells out in columns."""
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def duration(seconds: int) -> str:
    """Writes s as `7s`, `2m05s`, `3h04m` or `2d03h`."""
    if seconds < MINUTE_S:
        return f"{seconds}s"
    if seconds < HOUR_S:
        return f"{seconds // MINUTE_S}m{seconds % MINUTE_S:02}s"
    if seconds < DAY_S:
        return f"{seconds // HOUR_S}h{seconds % HOUR_S // MINUTE_S:02}m"
    return f"{seconds // DAY_S}d{seconds % DAY_S // HOUR_S:02}h"


def state_word(state: str, ready: bool) -> str:
    """Supervisor's word for a state, but for one: its STARTING lasts 12 s, however soon a program answers."""
    return SETTLING if state == "STARTING" and ready else state


def _cells(row: Row) -> tuple[str, ...]:
    pid, uptime = (str(row.pid), duration(row.uptime_s)) if row.pid else ("-", "-")
    ready = "yes" if row.readiness.ready else f"no: {row.reason}"
    state = state_word(row.state, row.readiness.ready)
    return (row.name, state, pid, uptime, str(row.port or "-"), ready, row.readiness.release or "-")
