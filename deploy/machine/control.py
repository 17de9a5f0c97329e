"""Talks to supervisord over its unix socket: a small typed face on the XML-RPC calls the kit needs."""

import socket
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from xml.parsers.expat import ExpatError

from supervisor.xmlrpc import SupervisorTransport, UnixStreamHTTPConnection

from deploy.errors import ControlError, Problem
from deploy.fleet import Balancer
from deploy.machine.ownership import running_stranger
from deploy.machine.run_files import connect as connect_to
from deploy.paths import Paths
from framefleet.machine.ownership import why_denied

Read = TypeVar("Read")
# The longest call waits for a program to stop, which supervisord itself bounds by stopwaitsecs.
CALL_TIMEOUT_S = 120.0
POLL_S = 0.1
RESEND_POLLS = 10
# As in the templates; every other program is stopped with TERM.
STOP_SIGNALS = {Balancer.name: "QUIT"}
UP_STATES = frozenset({"STARTING", "RUNNING"})
DOWN_STATES = frozenset({"STOPPED", "EXITED", "FATAL"})
# A program in one of these while it should come up has ended at least once.
ENDED_STATES = frozenset({"BACKOFF", "EXITED", "FATAL", "UNKNOWN"})


@dataclass(frozen=True, slots=True)
class ProgramState:
    """What supervisord knows about one program.

    Attributes:
        name: of the program.
        state: supervisor's word, such as RUNNING.
        pid: 0 if no process runs.
        uptime_s: s since the process was started; 0 if none runs.
        reason: why the last start failed, if it did.
    """

    name: str
    state: str
    pid: int
    uptime_s: int
    reason: str


@dataclass(frozen=True, slots=True)
class Changes:
    """Programs whose configuration on disk differs from what supervisord runs."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


class Control:
    """One connection to a fleet's supervisord; use it with `with`.

    Every method raises ControlError if supervisord does not answer or refuses.
    """

    def __init__(self, paths: Paths, timeout_s: float = CALL_TIMEOUT_S) -> None:
        self._socket = paths.supervisor_socket
        self._transport = SupervisorTransport(serverurl=f"unix://{self._socket}")
        self._transport._get_connection = lambda: _connection(str(self._socket), timeout_s)
        self._proxy = xmlrpc.client.ServerProxy("http://localhost", transport=self._transport)

    def __enter__(self) -> "Control":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transport.close()

    def running(self) -> bool:
        """True unless supervisord is on its way out."""
        return self._ask("getState", lambda state: bool(state["statename"] == "RUNNING"))

    def pid(self) -> int:
        """The process id of supervisord."""
        return self._ask("getPID", int)

    def states(self) -> dict[str, ProgramState]:
        """The state of every program, by name."""
        return self._ask("getAllProcessInfo", lambda rows: {row["name"]: _state(row) for row in rows})

    def reread(self) -> Changes:
        """Lets supervisord read its files again, which changes nothing yet."""
        return self._ask("reloadConfig", lambda answer: Changes(*map(tuple, answer[0])))

    def add(self, name: str) -> None:
        """Takes a program over from the files and starts it."""
        self._call("addProcessGroup", name)

    def start(self, name: str) -> None:
        """Starts a program, without waiting until it counts as running."""
        self._call("startProcess", name, False)

    def stop(self, *names: str, sleep: Callable[[float], None] = time.sleep) -> None:
        """Stops programs at the same time and waits until they have ended; those that do not run are fine.

        supervisord kills what does not end within its stopwaitsecs, which bounds the wait.
        """
        for name in names:
            self._call("stopProcessGroup", name, False)
        polls = 0
        while waiting := [n for n, state in self.states().items() if n in names and state.state not in DOWN_STATES]:
            sleep(POLL_S)
            polls += 1
            # A child of supervisord keeps supervisord's own signal handlers while it closes descriptors and until it
            # becomes the program (0.1 s with minfds=65536): a stop that arrives then is lost, so it is sent twice.
            if polls == RESEND_POLLS:
                for name in waiting:
                    with suppress(ControlError):  # it has ended meanwhile
                        self._call("signalProcess", name, STOP_SIGNALS.get(name, "TERM"))

    def remove(self, name: str) -> None:
        """Forgets a stopped program."""
        self._call("removeProcessGroup", name)

    def signal(self, name: str, signal_name: str) -> None:
        """Sends a signal, such as HUP, to a program's main process."""
        self._call("signalProcess", name, signal_name)

    def shutdown(self) -> None:
        """Asks supervisord to stop every program and then itself; returns at once."""
        self._call("shutdown")

    def _ask(self, method: str, read: Callable[[Any], Read]) -> Read:
        """Calls a method, and reads an answer that may be anything: somebody else may listen there."""
        answer = self._call(method)
        try:
            return read(answer)
        except (ValueError, TypeError, LookupError) as error:
            raise ControlError(_silence(str(self._socket), error)) from None

    def _call(self, method: str, *arguments: object) -> Any:
        with _problems(str(self._socket), method):
            return getattr(self._proxy.supervisor, method)(*arguments)


def answers(paths: Paths) -> bool:
    """True if a supervisord of this fleet listens, be it on its way out.

    Raises:
        ControlError: it is another user's, and takes no orders of this one.
    """
    with socket.socket(socket.AF_UNIX) as client:
        try:
            connect_to(client, paths.supervisor_socket)
        except PermissionError:
            if problem := running_stranger(paths):
                raise ControlError(problem) from None
            return False
        except OSError:
            return False
    return True


def _connection(path: str, timeout_s: float) -> Any:
    connection = UnixStreamHTTPConnection("localhost")
    connection.socketfile = path

    def connect() -> None:
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(timeout_s)
        connect_to(connection.sock, Path(path))

    connection.connect = connect
    return connection


@contextmanager
def _problems(where: str, method: str) -> Iterator[None]:
    try:
        yield
    except xmlrpc.client.Fault as fault:
        raise ControlError(
            Problem(where, f"supervisord refused {method}: {fault.faultString}", "see its log")
        ) from None
    except PermissionError:
        raise ControlError(Problem(where, "permission denied", why_denied(Path(where)))) from None
    except (OSError, HTTPException, xmlrpc.client.Error, ExpatError) as error:
        raise ControlError(_silence(where, error)) from None


def _silence(where: str, error: Exception) -> Problem:
    what = f"supervisord does not answer ({error or type(error).__name__})"
    return Problem(where, what, "`make down` clears it away, `make up` starts it")


def _state(row: dict[str, Any]) -> ProgramState:
    pid = int(row["pid"])
    uptime_s = max(0, int(row["now"]) - int(row["start"])) if pid else 0
    return ProgramState(row["name"], row["statename"], pid, uptime_s, row["spawnerr"])
