"""A machine that notes down what a recipe tells it to do, in order, and answers what a test lets it answer."""

import io
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter

from deploy.files.record import read_record
from deploy.fleet import Fleet
from deploy.machine.command import Outcome
from deploy.machine.control import Changes, ProgramState
from deploy.machine.devices import Devices
from deploy.machine.machine import Machine

ACTIONS = tuple(name for name, value in vars(Machine).items() if isinstance(value, staticmethod))
# What an action gives that a test says nothing about.
DEFAULTS: Mapping[str, Any] = {
    "run": Outcome(0, ""),
    "run_in_foreground": 0,
    "processes": (),
    "ports_of_session": frozenset(),
    "devices": Devices((), {0: (0, 1)}),
    "ensure_user": False,
    "fleet_lock": nullcontext(),
    "deploy_lock": nullcontext(),
    "port_claims": nullcontext(),
}
NO_CHANGES = Changes((), (), ())
SEEN: Mapping[str, Any] = {
    "image": {"width": 8, "height": 8},
    "model": {"name": "m", "input": [320, 320]},
    "request_id": "1",
    "timings_ms": dict.fromkeys(("decode", "queue", "infer", "post"), 1.0),
}


@dataclass
class Clock:
    """Time passes by sleeping alone."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def nobody(name: str) -> bool:
    return False


class Supervisord:
    """A supervisord whose programs do as they are told; notes down who told it what.

    Args:
        note: takes each order.
        known: programs that it starts.
        runs: whether it runs already, and they with it.
        changes: what it finds when it reads its files again.
        failing: says which programs end as soon as they are started.
    """

    def __init__(
        self,
        note: Callable[..., None],
        known: Sequence[str],
        *,
        runs: bool,
        changes: Changes = NO_CHANGES,
        failing: Callable[[str], bool] = nobody,
    ) -> None:
        self._note, self._changes, self._failing = note, changes, failing
        self._known, self.runs, self._pid = known, runs, 100
        self._states: dict[str, ProgramState] = {}
        if runs:
            for name in known:
                self._run(name)

    def __enter__(self) -> "Supervisord":
        return self

    def __exit__(self, *error: object) -> None:
        return

    def begin(self) -> None:
        self.runs = True
        for name in self._known:
            self._run(name)

    def running(self) -> bool:
        return self.runs

    def pid(self) -> int:
        return 99

    def states(self) -> dict[str, ProgramState]:
        return dict(self._states)

    def reread(self) -> Changes:
        self._note("supervisord.reread")
        return self._changes

    def add(self, name: str) -> None:
        self._note("supervisord.add", name)
        self._run(name)

    def start(self, name: str) -> None:
        self._note("supervisord.start", name)
        self._run(name)

    def stop(self, *names: str) -> None:
        self._note("supervisord.stop", *names)
        for name in names:
            self._states[name] = replace(self._states[name], state="STOPPED", pid=0)

    def remove(self, name: str) -> None:
        self._note("supervisord.remove", name)
        self._states.pop(name)

    def signal(self, name: str, signal_name: str) -> None:
        self._note("supervisord.signal", name, signal_name)

    def shutdown(self) -> None:
        self._note("supervisord.shutdown")
        self.runs = False

    def _run(self, name: str) -> None:
        self._pid += 1
        state = "EXITED" if self._failing(name) else "RUNNING"
        self._states[name] = ProgramState(name, state, self._pid, 60, "")


class Answers(BaseAdapter):
    """Every instance and the balancer answer, as the API promises, that they are ready and what they see.

    Args:
        fleet: who answers, of the release whose files are in place; on other ports a trial does.
        silent: says who answers nobody.
        wrong: of those that see something else.
    """

    def __init__(self, fleet: Fleet, silent: Callable[[str], bool] = nobody, wrong: Sequence[str] = ()) -> None:
        super().__init__()
        self._fleet, self._silent, self._wrong = fleet, silent, wrong
        self._behind = itertools.cycle([instance.name for instance in fleet.instances])

    def send(self, request: requests.PreparedRequest, **options: object) -> requests.Response:  # type: ignore[override]
        where = urlsplit(request.url or "")
        names = {urlsplit(one.url).port: one.name for one in self._fleet.instances}
        balancer = self._fleet.balancer.port
        name = next(self._behind) if where.port == balancer else names.get(where.port, "trial")
        if self._silent(name):
            raise requests.ConnectionError("nobody listens")
        score = 0.2 if name in self._wrong else 0.9
        box = {"label": "a", "class_id": 0, "score": score, "box": [1.0, 2.0, 3.0, 4.0]}
        document: Mapping[str, object] = {**SEEN, "detections": [box]}
        if where.path == "/readyz":
            release = self._fleet.release if name == "trial" else read_record(self._fleet.paths).release
            document = {"instance": name, "release": release}
        answer = requests.Response()
        answer.status_code, answer.headers["X-Instance"] = 200, name
        answer.raw = io.BytesIO(json.dumps(document).encode())
        return answer

    def close(self) -> None:
        return


@dataclass(frozen=True)
class RecordedMachine(Machine):
    """Does nothing, and remembers what it was told to do.

    Attributes:
        calls: each action in order, its name and its words.
        answers: what an action gives: a value, an error to raise, or what makes one of its arguments.
    """

    calls: list[str] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)

    def undisturbed(self) -> AbstractContextManager[None]:
        self.calls.append("undisturbed")
        return nullcontext()

    def note(self, name: str, *arguments: object) -> None:
        self.calls.append(" ".join((name, *filter(None, map(_word, arguments)))))

    def act(self, name: str, *arguments: object, **options: object) -> Any:
        self.note(name, *arguments)
        answer = self.answers.get(name, DEFAULTS.get(name))
        if isinstance(answer, BaseException):
            raise answer
        return answer(*arguments, **options) if callable(answer) else answer


def _word(argument: object) -> str:
    """What of an argument tells one call from another."""
    if isinstance(argument, Path):
        return argument.name
    if isinstance(argument, tuple) and argument and all(isinstance(part, str) for part in argument):
        return " ".join(Path(part).name for part in argument[:2])
    return argument if isinstance(argument, str) and "\n" not in argument and len(argument) < 40 else ""


def _recorder(name: str) -> Callable[..., Any]:
    def call(machine: RecordedMachine, *arguments: object, **options: object) -> Any:
        return machine.act(name, *arguments, **options)

    return call


for _name in (*ACTIONS, "control"):
    setattr(RecordedMachine, _name, _recorder(_name))


def recorded(answers: Mapping[str, Any] | None = None, said: list[str] | None = None) -> RecordedMachine:
    """A machine that only answers commands."""
    clock = Clock()
    say = (said if said is not None else []).append
    return RecordedMachine(say, clock, clock.sleep, {}, "here", answers=dict(answers or {}))
