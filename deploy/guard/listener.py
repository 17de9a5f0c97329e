"""What supervisord starts as the reviver: reads its events, asks `Reviver` what to do, does it, and tells people.

An event listener speaks supervisor's protocol on stdin and stdout, so what people should read goes to stderr, which is
the reviver's log, and to a webhook where the fleet names one. Beside it threads look for silent instances (prober) and
workers of nginx, and one holds requests while no instance listens (waiting_room).

`Programs`: what every program of a machine is doing, for the fleet page, `make status` and Prometheus.

Flow: [ProgramState...] -> Programs -> [Program...] -> programs.json, programs.prom, which nginx hands out.
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("deploy.guard.listener")


import argparse
import json
import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TextIO

import requests
from supervisor.childutils import EventListenerProtocol, get_headers

from deploy.errors import ControlError
from deploy.files.record import read_record
from deploy.fleet import REVIVER, Balancer
from deploy.guard.prober import (
    WORKER_PATIENCE,
    Deaths,
    Patience,
    Prober,
    probe_for_ever,
    probe_once,
    probe_workers_once,
)
from deploy.guard.reviver import Act, Delays, Reviver
from deploy.guard.self_resume import go_on_when_stopped
from deploy.guard.waiting_room import wait_for_ever
from deploy.machine import run
from deploy.machine.control import Control, ProgramState
from deploy.machine.processes import holds_open
from deploy.paths import Paths

STATES = ("STOPPED", "STARTING", "RUNNING", "BACKOFF", "STOPPING", "EXITED", "FATAL", "UNKNOWN")
SINGLES = frozenset({Balancer.name, REVIVER})
WEBHOOK_TIMEOUT_S = 5.0
# The only crash that supervisord answers with an immediate restart; one while starting ends in FATAL by itself.
DIED_RUNNING = "PROCESS_STATE_EXITED"
# nginx writes it itself, so supervisord does not rotate it. About a day at one request a second.
ACCESS_LOG_BYTES = 50_000_000
SUPERVISORD = "supervisord"
Tell = Callable[[Act], None]


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


def listen(
    paths: Paths,
    reviver: Reviver,
    tell: Tell,
    *,
    publish: Callable[[Mapping[str, ProgramState]], None],
    stdin: TextIO = sys.stdin,
    stdout: TextIO = sys.stdout,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Answers supervisord's events until it closes stdin.

    Args:
        paths: of the fleet.
        reviver: decides.
        tell: takes everything that is done.
        publish: takes the state of every program after each event.
        stdin: supervisor's events.
        stdout: our answers to them.
        clock: s, monotonic.
    """
    protocol = EventListenerProtocol()
    unwritten = ""
    while True:
        # Also before the first event, so that the fleet page need not wait for one.
        states: Mapping[str, ProgramState] | None = None
        try:
            states = _act(paths, reviver, tell, clock())
            publish(states)
        except (ControlError, OSError) as error:
            if states is None and isinstance(error, ControlError):
                # It is busy or on its way out; the next event brings another chance.
                tell(Act("alert", SUPERVISORD, str(error)))
            elif str(error) != unwritten:
                # On a full disk the fleet page is out of date, but programs are still revived. Said once.
                unwritten = str(error)
                tell(Act("alert", REVIVER, f"cannot write what the fleet page shows: {error}"))
        protocol.ready(stdout)
        line = stdin.readline()
        if not line:
            return
        headers = get_headers(line)
        payload = get_headers(stdin.read(int(headers["len"])).partition("\n")[0])
        if headers["eventname"] == DIED_RUNNING:
            reviver.crashed(payload["processname"], clock(), expected=payload["expected"] == "1")
        protocol.ok(stdout)


def _act(paths: Paths, reviver: Reviver, tell: Tell, now: float) -> Mapping[str, ProgramState]:
    with Control(paths) as control:
        for act in reviver.decide(control.states(), now):
            tell(act)
            try:
                if act.kind == "start":
                    control.start(act.program)
                elif act.kind == "stop":
                    control.stop(act.program)
            except ControlError as error:
                # Such as a program that ended as soon as it was started: its next state says what to do.
                tell(Act("alert", act.program, str(error)))
        states = control.states()
        _tend_logs(paths, control, states)
        return states


def _tend_logs(paths: Paths, control: Control, states: Mapping[str, ProgramState]) -> None:
    """Sets an access log aside that has grown; lets moved and deleted ones begin anew, else they grow unseen."""
    balancer = states.get(Balancer.name)
    # Until it counts as running it may not have become nginx yet: anything else USR1 would end.
    if balancer and balancer.state == "RUNNING":
        set_aside = run.rotate(paths.access_log, ACCESS_LOG_BYTES)
        if set_aside or not holds_open(balancer.pid, paths.access_log):
            control.signal(Balancer.name, "USR1")
    deleted = [log for log in map(paths.log_of, (*states, SUPERVISORD)) if not log.exists()]
    # Each is begun here first: supervisord itself would end on a disk that takes nothing.
    if any([run.begin_log(log) for log in deleted]):
        os.kill(control.pid(), signal.SIGUSR2)


def make_publish(paths: Paths, certificate: Path | None) -> Callable[[Mapping[str, ProgramState]], None]:
    """Makes what writes the files that nginx hands to the fleet page and to Prometheus.

    Args:
        paths: of the fleet.
        certificate: PEM file whose end is watched, if there is one.
    """
    programs = Programs(SINGLES)

    def publish(states: Mapping[str, ProgramState]) -> None:
        rows = programs.observe(states)
        run.write_text(paths.programs_json, to_json(rows))
        run.write_text(paths.programs_prom, to_metrics(rows, certificate_end(certificate)))

    return publish


def certificate_end(certificate: Path | None) -> float | None:
    """Reads until when a PEM certificate is valid, as Unix time in s; None if that cannot be told."""
    if certificate is None:
        return None
    try:
        shown = run.run_command(("openssl", "x509", "-noout", "-enddate", "-in", str(certificate)))
    except FileNotFoundError:  # nginx does not bring it along
        return None
    _, _, end = shown.output.partition("notAfter=")
    return ssl.cert_time_to_seconds(end.strip()) if end else None


def make_tell(webhook: str, log: TextIO = sys.stderr) -> Tell:
    """Makes what writes an act to the log and, where there is one, posts it to the webhook.

    Args:
        webhook: URL that takes `{"text", "host", "program", "kind"}` as JSON; empty for none.
        log: takes one JSON line per act.
    """
    host = socket.gethostname()

    def tell(act: Act) -> None:
        text = f"{host}: {act.program}: {act.message}"
        entry = {"kind": act.kind, "host": host, "program": act.program, "text": text}
        print(json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **entry}), file=log, flush=True)
        if webhook:
            # Apart, because a slow webhook must not keep a program down.
            threading.Thread(target=_post, args=(webhook, entry, log), daemon=True).start()

    return tell


def _post(webhook: str, entry: Mapping[str, str], log: TextIO) -> None:
    try:
        requests.post(webhook, json=entry, timeout=WEBHOOK_TIMEOUT_S).raise_for_status()
    except requests.RequestException as error:
        # The URL itself may be a secret.
        print(json.dumps({"kind": "webhook failed", "text": type(error).__name__}), file=log, flush=True)


def main(arguments: Sequence[str]) -> None:
    """Runs the listener on the fleet whose folders are given; the webhook comes from its record: it may be a secret."""
    go_on_when_stopped()
    parser = argparse.ArgumentParser(prog="python -m deploy.guard.listener")
    for folder in ("state", "etc", "run", "log"):
        parser.add_argument(folder, type=Path)
    parser.add_argument("--limits", type=json.loads, default={}, help="of deploy.guard.reviver.Limits, as JSON")
    given = parser.parse_args(arguments)
    paths = Paths(given.state, given.etc, given.run, given.log)
    reviver = Reviver(Delays(**given.limits), SINGLES)
    fleet = read_record(paths) if paths.record.exists() else None
    certificate = fleet.balancer.tls.certificate if fleet and fleet.balancer.tls else None
    tell = make_tell(fleet.monitoring.webhook if fleet else "")
    look_at_workers = partial(probe_workers_once, deaths=Deaths())
    for prober, probe in ((Prober(Patience()), probe_once), (Prober(WORKER_PATIENCE), look_at_workers)):
        kept = {"paths": paths, "tell": tell, "prober": prober, "probe": probe}
        threading.Thread(target=probe_for_ever, kwargs=kept, daemon=True).start()
    threading.Thread(target=wait_for_ever, args=(paths, tell), daemon=True).start()
    with suppress(BrokenPipeError):
        listen(paths, reviver, tell, publish=make_publish(paths, certificate))
    # supervisord ends its programs with a signal; where their streams end it has died.
    folders = map(str, (paths.state, paths.etc, paths.run, paths.log))
    run.become((sys.executable, "-m", "deploy.guard.recovery", *folders), paths.log_of(REVIVER))


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
