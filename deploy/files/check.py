"""Lets nginx, supervisor and systemd themselves say whether they accept rendered files, before anything uses those.

The files are rendered for a staging folder and written there by the caller, so that nothing live is touched.
"""

import re
from pathlib import Path

from deploy.errors import Problem
from deploy.fleet import Code, Fleet
from deploy.machine.command import Outcome, Runner

# supervisor has no option to test a file: its own parser, in a process of its own because it exits on errors.
PARSE = "import sys; from supervisor.options import ServerOptions; ServerOptions().realize(sys.argv[1:])"
# With or without a time stamp: that depends on the version and on whether error_log has been read yet.
NGINX_COMPLAINT = re.compile(
    r"(?:nginx:|\S+ \S+) \[(?:emerg|crit|error)\] (?:\d+#\d+: )?(?P<what>.+?)(?: in (?P<where>/.+:\d+))?$"
)
SUPERVISOR_COMPLAINT = re.compile(r"Error: (?P<what>.+?)(?: in section '.+' \(file: '(?P<where>.+)'\))?$")
FIX = "correct its template in deploy/"
OTHER_FIX = "correct what it names"


def check(staged: Fleet, code: Code, run: Runner) -> tuple[Problem, ...]:
    """Checks files that lie in the staging folder already.

    Args:
        staged: the fleet as it was rendered for the staging folder.
        code: what has supervisor at hand.
        run: runs a command and waits for its end.

    Returns:
        What is wrong; empty if all accept the files. Where there is no systemd, nobody is asked about its unit.
    """
    paths = staged.paths
    nginx = run((str(staged.machine.nginx), "-t", "-q", "-c", str(paths.nginx_conf)))
    supervisor = run((str(code.python), "-I", "-X", "utf8", "-c", PARSE, "-c", str(paths.supervisor_conf)))
    return (
        *_complaints(nginx, NGINX_COMPLAINT, paths.nginx_conf, paths.etc),
        *_complaints(supervisor, SUPERVISOR_COMPLAINT, paths.supervisor_conf, paths.etc),
        *(_unit_complaints(paths.etc / "systemd" / staged.unit.name, run) if staged.unit else ()),
    )


def _unit_complaints(unit: Path, run: Runner) -> list[Problem]:
    try:
        outcome = run(("systemd-analyze", "verify", "--man=no", str(unit)))
    except FileNotFoundError:
        return []
    about = (line for line in outcome.output.splitlines() if unit.name in line)
    # The release need not be there yet, and never is on another machine.
    return [
        Problem(f"systemd/{unit.name}", line.partition(f"{unit.name}:")[2].strip(), FIX)
        for line in about
        if "is not executable: No such file" not in line
    ]


def _complaints(outcome: Outcome, pattern: re.Pattern[str], main: Path, etc: Path) -> list[Problem]:
    if outcome.code == 0:
        return []
    lines = [line.strip() for line in outcome.output.splitlines() if line.strip()]
    found = [match for line in lines if (match := pattern.match(line))]
    if not found:
        return [Problem(_relative(str(main), etc), lines[-1] if lines else f"exit code {outcome.code}", FIX)]
    problems = [
        Problem(_relative(match["where"] or str(main), etc), match["what"], FIX if match["where"] else OTHER_FIX)
        for match in found
    ]
    return list(dict.fromkeys(problems))


def _relative(where: str, etc: Path) -> str:
    return where.removeprefix(f"{etc}/")
