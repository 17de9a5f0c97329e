"""The verbs that only look: status, logs and the smoke test; each returns an exit code."""

from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from deploy.checks.health import endpoints, probe_fleet
from deploy.checks.own_key import own_key
from deploy.checks.smoke import first_frame, smoke
from deploy.errors import ControlError, Problem, SettingsError
from deploy.files.record import read_record
from deploy.fleet import Fleet
from deploy.machine.control import Control, ProgramState
from deploy.machine.logs import Tail, log_names
from deploy.machine.world import World
from deploy.paths import Paths
from deploy.rollout.stopping import ANSWER_TIMEOUT_S, answers
from deploy.verbs.status import rows, table
from framefleet.http.session import open_session

FOLLOW_EVERY_S = 0.3
SAMPLE_VIDEO = Path("video") / "carphone_pristine.mp4"
# One line per request would drown the others; shown when asked for by name.
ACCESS_LOG = "balancer-access"


def show_status(paths: Paths, world: World) -> int:
    """Prints a row per program; 0 only if every one runs and is ready."""
    fleet = _running_fleet(paths)
    found = rows(fleet, _states(paths), probe_fleet(fleet))
    world.say(table(found))
    return 0 if all(row.well for row in found) else 1


def run_smoke(paths: Paths, image: Path | None, world: World) -> int:
    """Prints a line per check; 0 only if all passed."""
    given = _read(image) if image else None
    fleet = _running_fleet(paths)
    picture = given or first_frame(paths.state / SAMPLE_VIDEO)
    key = own_key(fleet, world.environ)
    failed = 0
    with open_session() as session:
        for finding in smoke(session, endpoints(fleet), picture, key):
            failed += bool(finding.problem)
            world.say(f"{'FAILED' if finding.problem else 'ok':<6}  {finding.name}: {finding.problem or finding.note}")
    world.say(f"smoke: {failed} checks failed" if failed else "smoke: every answer was right")
    return 1 if failed else 0


def follow_logs(paths: Paths, names: Sequence[str], lines: int, follow: bool, world: World) -> int:
    """Prints the last lines of the named logs, or of all, then whatever is added until Ctrl-C."""
    known = log_names(paths.log)
    if not known:
        raise ControlError(Problem(str(paths.log), "there are no logs yet", "`make up` starts a fleet"))
    if unknown := [name for name in names if name not in known]:
        there = ", ".join(known) or "none"
        raise SettingsError(Problem(f"logs {' '.join(unknown)}", f"no such log in {paths.log}", f"there are: {there}"))
    if follow and not answers(paths):
        world.say(f"note: no fleet runs in {paths.state}; these are the logs of the last one")
    chosen = names or [name for name in known if name != ACCESS_LOG]
    width = max((len(name) for name in chosen), default=0)
    with ExitStack() as stack:
        tails = [stack.enter_context(closing(Tail(paths.log_of(name), lines))) for name in chosen]
        while True:
            for tail in tails:
                for line in tail.read():
                    world.say(f"{tail.name:<{width}} | {line}")
            if not follow:
                return 0
            world.sleep(FOLLOW_EVERY_S)


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
