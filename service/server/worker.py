"""gunicorn's worker and master as this service needs them: one that listens exactly while it can answer.

Stock gunicorn listens before any worker exists and goes on when one has died, so clients queue behind a model load and
nobody learns of a crash. Here the worker itself opens the socket once the model has answered, closes it at the first
moment of SIGTERM, and its death ends the master, so that supervisor starts both again.

`WireProblem`: what gunicorn answers to a request that never reaches the application: it is no HTTP, or its head is too
long.

gunicorn's own pages are HTML without a request id; clients of this service read problem documents and nothing else.
And its words quote the request, of which a damaged head may be a key, and a misplaced body a picture: that is cut off.
"""

import ctypes
import html
import logging
import os
import re
import signal
import socket
import sys
import uuid
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from gunicorn import sock
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from gunicorn.workers.gthread import ThreadWorker

from framefleet.machine.listening import resolve
from service.host import in_address
from service.log import log_event
from service.problems import CODES, OTHER_CODE, OURS, make_problem
from service.safeguards.in_work import shared_table
from service.safeguards.memory import EXIT_MEMORY, Ceiling, DrainTurn, bound_heap, settle_heap, shared_state
from service.safeguards.quarantine import make_quarantine
from service.safeguards.watchdog import EXIT_HANG, Watchdog, shared_memory
from service.server.allow import AllowedOnly, parse_allow
from service.settings import read_settings
from service.surroundings import why_not_listening
from service.wsgi import EXIT_FAILED_TO_BOOT, application

QUOTE = re.compile(r"""['"]""")
REFUSAL = "Invalid request from "
PAGE = re.compile(r"HTTP/1\.1 (?P<status>\d+) (?P<reason>[^\r]*)\r\n.*</h1>\s*(?P<message>.*?)\s*</body>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """How long a request's head may be: `line` and `field` in bytes, and how many `fields`."""

    line: int
    fields: int
    field: int

    def detail(self, status: int, message: str) -> str:
        """What gunicorn says, in words that name the limit where the head is over one."""
        match status:
            case HTTPStatus.REQUEST_URI_TOO_LONG:
                return f"request: its first line is over {self.line} bytes; send fewer query parameters"
            case HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
                return (
                    f"headers: over {self.fields} of them, or one over {self.field} bytes; send fewer or shorter ones"
                )
        return message


class WireProblem:
    """A connection on which gunicorn's page about a request leaves as a problem document; all else as it is.

    Args:
        connection: the client's.
        instance: the instance's name.
        limits: what gunicorn takes.
    """

    def __init__(self, connection: socket.socket, instance: str, limits: HeadLimits) -> None:
        self._connection, self._instance, self._limits = connection, instance, limits

    def sendall(self, page: bytes) -> None:
        """Sends the problem that a page of `gunicorn.util.write_error` tells of."""
        if shown := PAGE.match(page.decode("latin-1")):
            status, message = int(shown["status"]), html.unescape(shown["message"])
            page = _answer(self._instance, status, shown["reason"], self._limits.detail(status, message))
        self._connection.sendall(page)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class Unquoted(logging.Filter):
    """Keeps what gunicorn quotes of a request it refuses out of its log."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Shortens such a line; every line is logged."""
        if (message := record.getMessage()).startswith(REFUSAL):
            record.msg, record.args = unquoted(message), ()
        return True


if TYPE_CHECKING:
    from service.engines import Engine


EXIT_WORKER_DIED = 70
EXIT_NO_PORT = 1  # as gunicorn's own
PR_SET_PDEATHSIG = 1


class DetectorArbiter(Arbiter):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's master, which remembers that it was asked to stop: a worker's exit is expected then."""

    stop_asked = False

    def stop(self, graceful: bool = True) -> None:
        """Ends the worker.

        Raises:
            SystemExit: the worker ended otherwise than it was asked to.
        """
        self.stop_asked = True
        try:
            super().stop(graceful)
        except HaltServer as halt:  # gunicorn expects none here, and would end with 1 and a traceback
            raise SystemExit(halt.exit_status) from None


class DetectorWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """One process that owns the engine and answers requests in threads.

    gunicorn makes it in the master, before the fork: what is shared over the fork is made here, so that the master
    learns why its worker ended and what it was at.
    """

    alive: bool  # gunicorn's: not asked to stop

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.settings = read_settings(os.environ)
        self.allowed = parse_allow(self.settings.allow)
        self.watchdog = Watchdog(self.settings.watchdog_s, shared_memory())
        self.quarantine = make_quarantine(self.settings, shared_table())
        self.ceiling = Ceiling(self.settings.max_memory_mb, self.settings.memory_growth_mb, shared_state())
        folder = Path(self.settings.quarantine) if self.settings.quarantine else None
        self.drain_turn = DrainTurn(folder, self.settings.instance)
        self.head_limits = HeadLimits(
            self.cfg.limit_request_line, self.cfg.limit_request_fields, self.cfg.limit_request_field_size
        )

    def open_engine(self) -> "Engine":
        """Makes the engine that the settings name; a test's worker makes another."""
        from service.engines import load_engine  # with its packages, which the master does without

        return load_engine(self.settings)

    def init_process(self) -> None:
        """Ties its life to the master's: an orphan in C code would hold the port. Bounds its heap and its log."""
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self.ppid:  # the master died before the line above
            os._exit(EXIT_WORKER_DIED)
        bound_heap()
        self.log.error_log.addFilter(Unquoted())
        super().init_process()

    def load_wsgi(self) -> None:
        """Loads and warms up the model.

        Raises:
            SystemExit: the instance cannot start; the reason is on stderr in one line.
        """
        self.wsgi = application(self.settings, self.watchdog, self.quarantine, self.open_engine)

    def run(self) -> None:
        """Serves until SIGTERM; the engine is closed in the thread that owns it."""
        try:
            if self.alive:  # else SIGTERM came during the model load
                self.listen()
            super().run()
        finally:
            self.wsgi.extensions["detector"].batcher.stop()

    def listen(self) -> None:
        """Starts to listen: the model is loaded and has answered.

        Raises:
            SystemExit: it cannot, or has no memory left for requests; the reason is on stderr in one line.
        """
        if self.ceiling.is_over():
            self._refuse_to_start(
                f"FRAMEFLEET_MAX_MEMORY_MB: over {self.ceiling.limit_mb} MiB without a single request; raise it",
                EXIT_FAILED_TO_BOOT,
            )
        settle_heap()
        address = in_address(resolve(self.settings.host, self.settings.port), self.settings.port)
        try:
            self.cfg.set("bind", [address])
            self.sockets = [
                AllowedOnly(listener, self.allowed) if self.allowed else listener
                for listener in sock.create_sockets(self.cfg, self.log)
            ]
        except (SystemExit, OSError):
            self._refuse_to_start(why_not_listening(self.settings), EXIT_NO_PORT)
        self.drain_turn.listen()
        self.ceiling.settle()
        self.ceiling.watch(lambda: os.kill(os.getpid(), signal.SIGTERM), self.drain_turn)
        model = self.wsgi.extensions["detector"].batcher.info
        log_event("listening", instance=self.settings.instance, address=address, model=model.model, engine=model.kind)

    def accept(self, listener: Any) -> None:
        """Takes one connection; where that fails, as without file descriptors, the worker drains and ends.

        An exception would end it in the middle of its requests.
        """
        try:
            super().accept(listener)
        except OSError as error:
            if self.alive:
                instance = self.settings.instance
                log_event("cannot_accept", instance=instance, reason=str(error), exit_code=EXIT_WORKER_DIED)
            self.alive = False

    def set_accept_enabled(self, enabled: bool) -> None:
        """Switches accepting on and off: off for good closes the port, and loses nobody who waits.

        A stopping worker's loop switches it off once, before it looks whether a connection is left to wait for.
        """
        super().set_accept_enabled(enabled)
        if enabled or self.alive:
            return
        for listener in self.sockets:
            if listener.sock is not None:
                self._accept_waiting(listener)
                listener.close()
        self.drain_turn.leave()

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Logs and answers what never reached the application, as a problem document."""
        super().handle_error(req, WireProblem(client, self.settings.instance, self.head_limits), addr, exc)

    def explain_exit(self, *, stop_asked: bool) -> None:
        """Says in the master why the worker ended, and blames the pictures it died of.

        Args:
            stop_asked: whether the master was asked to stop, so that an exit is expected.

        Raises:
            HaltServer: the worker was not asked to stop; the master ends with it.
        """
        instance, watchdog_s = self.settings.instance, self.settings.watchdog_s
        hung = self.watchdog.hung()
        if self.ceiling.was_reached() and not hung:  # it was drained, and no picture is to blame
            log_event("memory_ceiling", instance=instance, limit_mb=self.ceiling.limit_mb, exit_code=EXIT_MEMORY)
            raise HaltServer(f"{instance} held over {self.ceiling.limit_mb} MiB", EXIT_MEMORY)
        if hung or not stop_asked:
            self._blame_pictures(engine_alone=hung)
        if hung:
            log_event("engine_hang", instance=instance, limit_s=watchdog_s, exit_code=EXIT_HANG)
            raise HaltServer(f"an inference of {instance} took over {watchdog_s} s", EXIT_HANG)
        if not stop_asked:
            raise HaltServer(f"worker {self.pid} of {instance} died", EXIT_WORKER_DIED)

    def _blame_pictures(self, *, engine_alone: bool) -> None:
        instance, folder = self.settings.instance, self.settings.quarantine
        try:
            if count := self.quarantine.blame(engine_alone=engine_alone):
                log_event("pictures_blamed", instance=instance, pictures=count, folder=folder)
        except OSError as error:  # a full disk must not keep the instance from starting again
            log_event("pictures_not_blamed", instance=instance, reason=str(error))

    def _accept_waiting(self, listener: Any) -> None:
        """Takes the connections the kernel has already completed; closing the socket would reset them."""
        accepted = -1
        while accepted != self.nr_conns:
            accepted = self.nr_conns
            self.accept(listener)

    def _refuse_to_start(self, reason: str, exit_code: int) -> None:
        print(f"cannot start: {reason}", file=sys.stderr, flush=True)
        raise SystemExit(exit_code) from None


def unquoted(message: str) -> str:
    """What gunicorn says, up to where it quotes the request."""
    return QUOTE.split(message, maxsplit=1)[0].rstrip(" :")


def _answer(instance: str, status: int, reason: str, message: str) -> bytes:
    request_id = uuid.uuid4().hex
    detail = unquoted(message) if message and status < HTTPStatus.INTERNAL_SERVER_ERROR else OURS
    body = msgspec.json.encode(make_problem(status, CODES.get(status, OTHER_CODE), reason, detail, request_id))
    head = [
        f"HTTP/1.1 {status} {reason}",
        "Connection: close",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        f"X-Request-ID: {request_id}",
        f"X-Instance: {instance}",
    ]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body
