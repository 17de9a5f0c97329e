"""What `status` shows: one row per program, from what supervisord and the programs themselves say.

`show_status`, `run_smoke`: the verbs that only look: status, logs and the smoke test; each returns an exit code.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from deploy.checks.health import Readiness, endpoints, probe_fleet
from deploy.checks.own_key import own_key
from deploy.checks.smoke import first_frame, smoke
from deploy.errors import ControlError, Problem, SettingsError
from deploy.files.record import read_record
from deploy.fleet import Fleet
from deploy.machine.control import UP_STATES, Control, ProgramState, answers
from deploy.machine.logs import Tail, log_names
from deploy.machine.machine import Machine
from deploy.machine.processes import is_stopped
from deploy.paths import Paths
from deploy.rollout.stopping import ANSWER_TIMEOUT_S
from framefleet.http.session import open_session

FOLLOW_EVERY_S = 0.3
SAMPLE_VIDEO = Path("video") / "carphone_pristine.mp4"
# One line per request would drown the others; shown when asked for by name.
ACCESS_LOG = "balancer-access"
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


def show_status(paths: Paths, machine: Machine) -> int:
    """Prints a row per program; 0 only if every one runs and is ready."""
    fleet = _running_fleet(paths)
    found = rows(fleet, _states(paths), probe_fleet(fleet))
    machine.say(table(found))
    return 0 if all(row.well for row in found) else 1


def run_smoke(paths: Paths, image: Path | None, machine: Machine) -> int:
    """Prints a line per check; 0 only if all passed."""
    given = _read(image) if image else None
    fleet = _running_fleet(paths)
    picture = given or first_frame(paths.state / SAMPLE_VIDEO)
    key = own_key(fleet, machine.environ)
    failed = 0
    with open_session() as session:
        for finding in smoke(session, endpoints(fleet), picture, key):
            failed += bool(finding.problem)
            machine.say(
                f"{'FAILED' if finding.problem else 'ok':<6}  {finding.name}: {finding.problem or finding.note}"
            )
    machine.say(f"smoke: {failed} checks failed" if failed else "smoke: every answer was right")
    return 1 if failed else 0


def follow_logs(paths: Paths, names: Sequence[str], lines: int, follow: bool, machine: Machine) -> int:
    """Prints the last lines of the named logs, or of all, then whatever is added until Ctrl-C."""
    known = log_names(paths.log)
    if not known:
        raise ControlError(Problem(str(paths.log), "there are no logs yet", "`make up` starts a fleet"))
    if unknown := [name for name in names if name not in known]:
        there = ", ".join(known) or "none"
        raise SettingsError(Problem(f"logs {' '.join(unknown)}", f"no such log in {paths.log}", f"there are: {there}"))
    if follow and not answers(paths):
        machine.say(f"note: no fleet runs in {paths.state}; these are the logs of the last one")
    chosen = names or [name for name in known if name != ACCESS_LOG]
    width = max((len(name) for name in chosen), default=0)
    with ExitStack() as stack:
        tails = [stack.enter_context(closing(Tail(paths.log_of(name), lines))) for name in chosen]
        while True:
            for tail in tails:
                for line in tail.read():
                    machine.say(f"{tail.name:<{width}} | {line}")
            if not follow:
                return 0
            machine.sleep(FOLLOW_EVERY_S)


def _running_fleet(paths: Paths) -> Fleet:
    if not answers(paths):
        raise ControlError(Problem(str(paths.state), "no fleet runs here", "`make up` starts one"))
    return read_record(paths)


def _states(paths: Paths) -> dict[str, ProgramState]:
    with Control(paths, ANSWER_TIMEOUT_S) as control:
        return control.states()


def _read(image: Path) -> bytes:
    try:
        if picture := image.read_bytes():
            return picture
        raise SettingsError(Problem(f"--image {image}", "is empty", "name a JPEG or PNG"))
    except OSError as error:
        raise SettingsError(Problem(f"--image {image}", error.strerror or str(error), "name a JPEG or PNG")) from None
