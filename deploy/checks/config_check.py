"""The runbook of a check: render for a staging folder, let nginx, supervisor and systemd read it there, clear it away.

What is checked is what will run, as far as this machine allows: a host's file that is checked elsewhere gets stand-ins
for what only the host has.

`check`: lets nginx, supervisor and systemd themselves say whether they accept rendered files, before anything uses
those.

The files are rendered for a staging folder and written there by the caller, so that nothing live is touched.
"""

import re
from dataclasses import replace
from pathlib import Path

from deploy.errors import Problem
from deploy.files.render import render
from deploy.fleet import LOOPBACK, Balancer, Code, Fleet, HostFacts, Tls
from deploy.machine import run
from deploy.machine.command import Outcome, Runner
from deploy.machine.machine import Machine
from deploy.paths import Paths, local_paths

# supervisor has no option to test a file: its own parser, in a process of its own because it exits on errors.
PARSE = "import sys; from supervisor.options import ServerOptions; ServerOptions().realize(sys.argv[1:])"
# With or without a time stamp: that depends on the version and on whether error_log has been read yet.
NGINX_COMPLAINT = re.compile(
    r"(?:nginx:|\S+ \S+) \[(?:emerg|crit|error)\] (?:\d+#\d+: )?(?P<what>.+?)(?: in (?P<where>/.+:\d+))?$"
)
SUPERVISOR_COMPLAINT = re.compile(r"Error: (?P<what>.+?)(?: in section '.+' \(file: '(?P<where>.+)'\))?$")
FIX = "correct its template in deploy/"
OTHER_FIX = "correct what it names"
EVERYWHERE = "0.0.0.0"
FIRST_PORT_OF_ALL = 1024
OPENSSL = (
    *("openssl", "req", "-x509", "-nodes", "-days", "1", "-subj", "/CN=stand-in"),
    *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
)


def check_config(
    fleet: Fleet, stage: Path, machine: Machine, elsewhere: HostFacts | None = None
) -> tuple[Problem, ...]:
    """Checks a fleet's configuration without touching anything live.

    Args:
        fleet: what would run.
        stage: a folder of our own, removed afterwards.
        machine: what this runs on.
        elsewhere: what that is, if it is not the fleet's own.

    Returns:
        What nginx, supervisor and systemd complain of.
    """
    staged = replace(fleet, paths=local_paths(stage))
    machine.remove(stage)
    try:
        machine.make_folders(staged.paths)
        if elsewhere:
            staged = with_stand_ins(staged, elsewhere)
            if problem := _make_certificate(staged.balancer.tls, machine):
                return (problem,)
        machine.write_files(staged.paths.etc, render(staged))
        return check(staged, run.this_code(), machine.run)
    finally:
        machine.remove(stage)


def with_stand_ins(fleet: Fleet, facts: HostFacts) -> Fleet:
    """Replaces what only the fleet's own machine has: addresses, names, certificates, nginx, the right to low ports."""
    return replace(
        fleet,
        balancer=_balancer(fleet.balancer, fleet.paths, facts),
        neighbours=tuple(replace(neighbour, url=f"http://{LOOPBACK}") for neighbour in fleet.neighbours),
        machine=replace(fleet.machine, nginx=facts.nginx, root=facts.root),
    )


def _balancer(balancer: Balancer, paths: Paths, facts: HostFacts) -> Balancer:
    tls = balancer.tls
    return replace(
        balancer,
        host=balancer.host if balancer.host == LOOPBACK else EVERYWHERE,
        port=_allowed(balancer.port, facts),
        # nginx looks every name up before it accepts a file.
        peers=tuple(replace(peer, host=LOOPBACK) for peer in balancer.peers),
        tls=tls
        and replace(
            tls,
            certificate=paths.state / "certificate.pem",
            key=paths.state / "key.pem",
            port=_allowed(tls.port, facts),
        ),
    )


def _allowed(port: int, facts: HostFacts) -> int:
    """A port that may be opened: nginx opens them all when it tests a file."""
    return port if facts.root or port >= FIRST_PORT_OF_ALL else port + 50_000


def _make_certificate(tls: Tls | None, machine: Machine) -> Problem | None:
    if not tls:
        return None
    command = (*OPENSSL, "-keyout", str(tls.key), "-out", str(tls.certificate))
    try:
        outcome = machine.run(command)
    except FileNotFoundError:
        return Problem("openssl", "needed for a stand-in certificate, not found", "install it, or check on the host")
    return Problem("openssl", outcome.output.strip(), "check on the host instead") if outcome.code else None


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
