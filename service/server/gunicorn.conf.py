"""gunicorn's settings for one instance: it listens exactly while it can answer.

Stock gunicorn listens before any worker exists and goes on when one has died, so clients queue behind a model load and
nobody learns of a crash. Here the worker itself opens the socket once the model has answered, closes it at the first
moment of SIGTERM, and its death ends the master, so that supervisor starts both again.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Any

from gunicorn import sock, util
from gunicorn.errors import HaltServer

from framefleet.command import tell
from framefleet.machine.listening import resolve

try:
    from service.cpus import keep_to_cpus
    from service.errors import StartError
    from service.host import in_address
    from service.log import log_event
    from service.safeguards.in_work import shared_table
    from service.safeguards.memory import EXIT_MEMORY, Ceiling, DrainTurn, bound_heap, settle_heap, shared_state
    from service.safeguards.quarantine import make_quarantine
    from service.safeguards.watchdog import EXIT_HANG, Watchdog, heed_alarm, shared_memory
    from service.server.allow import keep_out_others, parse_allow
    from service.server.wire_problems import HeadLimits, Unquoted, problem_writer
    from service.settings import read_settings
    from service.surroundings import check_surroundings, why_not_listening
except ImportError as import_error:
    raise SystemExit(tell("service", import_error, lead="cannot start")) from None

EXIT_BAD_SETTINGS = 78  # EX_CONFIG
EXIT_WORKER_DIED = 70
EXIT_FAILED_TO_BOOT = 3  # as wsgi.py
EXIT_NO_PORT = 1  # as gunicorn's own
PR_SET_PDEATHSIG = 1

try:
    settings = read_settings(os.environ)
    allowed = parse_allow(settings.allow)
    check_surroundings(settings)
except StartError as start_error:
    print(f"cannot start: {start_error}", file=sys.stderr, flush=True)
    raise SystemExit(EXIT_BAD_SETTINGS) from None
if missing := keep_to_cpus(settings.cpus):  # before the worker counts them, or starts a thread
    log_event("cpus_not_used", instance=settings.instance, reason=f"FRAMEFLEET_CPUS: {missing}")

heed_alarm()
watchdog_fd = shared_memory()  # before the fork, so that the master learns why its worker ended
watchdog = Watchdog(settings.watchdog_s, watchdog_fd)
in_flight_fd = shared_table()  # likewise, so that it learns what the worker was at
quarantine = make_quarantine(settings, in_flight_fd)
ceiling = Ceiling(settings.max_memory_mb, settings.memory_growth_mb, shared_state())  # likewise
drain_turn = DrainTurn(Path(settings.quarantine) if settings.quarantine else None, settings.instance)

wsgi_app = f"service.wsgi:application({watchdog_fd}, {in_flight_fd})"
proc_name = f"framefleet-{settings.instance}"
bind: list[str] = []  # the worker binds, see post_worker_init
workers = 1  # one process owns the model, so batches stay whole; scale by instances
worker_class = "gthread"  # decoding releases the GIL
threads = settings.worker_threads
limit_request_line = 8190  # as nginx's; a list of classes can be long
limit_request_fields = 100
limit_request_field_size = 8190
worker_connections = settings.worker_threads + 1000  # surplus connections are shed by a thread, not left waiting
preload_app = False  # CUDA does not survive a fork
max_requests = 0  # a restart is supervisor's decision
timeout = 300  # under gthread only the main thread's heartbeat: it ends a model load that never finishes
graceful_timeout = settings.graceful_timeout_s
keepalive = 30
control_socket_disable = True  # all instances would share one path
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # a disk's stall must not look like a hang
accesslog = None  # nginx writes it
errorlog = "-"
loglevel = "warning"


def on_starting(server: Any) -> None:
    """Remembers when the master is asked to stop: a worker's exit is expected then."""
    stop = server.stop

    def stop_expecting_exits(graceful: bool = True) -> None:
        server.stop_asked = True
        try:
            stop(graceful)
        except HaltServer as halt:  # gunicorn expects none here, and would end with 1 and a traceback
            raise SystemExit(halt.exit_status) from None

    server.stop_asked = False
    server.stop = stop_expecting_exits


def post_fork(server: Any, worker: Any) -> None:
    """Ties the worker's life to the master's: an orphan in C code would hold the port. Bounds its heap and its log."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    bound_heap()
    limits = HeadLimits(limit_request_line, limit_request_fields, limit_request_field_size)
    util.write_error = problem_writer(settings.instance, limits)
    worker.log.error_log.addFilter(Unquoted())
    if os.getppid() != worker.ppid:  # the master died before the line above
        os._exit(EXIT_WORKER_DIED)


def post_worker_init(worker: Any) -> None:
    """Starts to listen: the model is loaded and has answered."""
    if not worker.alive:  # SIGTERM came during the model load
        return
    if ceiling.is_over():
        print(
            f"cannot start: FRAMEFLEET_MAX_MEMORY_MB: over {ceiling.limit_mb} MiB without a single request; raise it",
            file=sys.stderr,
            flush=True,
        )
        raise SystemExit(EXIT_FAILED_TO_BOOT)
    settle_heap()
    try:
        worker.cfg.set("bind", [_address()])
        worker.sockets = sock.create_sockets(worker.cfg, worker.log)
    except (SystemExit, OSError):
        print(f"cannot start: {why_not_listening(settings)}", file=sys.stderr, flush=True)
        raise SystemExit(EXIT_NO_PORT) from None
    for listener in worker.sockets:
        keep_out_others(listener, allowed)
    worker.set_accept_enabled = _draining(worker)
    worker.accept = _accepting(worker)
    drain_turn.listen()
    ceiling.settle()
    ceiling.watch(lambda: os.kill(os.getpid(), signal.SIGTERM), drain_turn)
    model = worker.wsgi.extensions["detector"].batcher.info
    log_event("listening", instance=settings.instance, address=_address(), model=model.model, engine=model.kind)


def child_exit(server: Any, worker: Any) -> None:
    """Ends the master with its worker.

    Raises:
        HaltServer: the worker was not asked to stop.
    """
    hung = watchdog.hung()
    if ceiling.was_reached() and not hung:  # it was drained, and no picture is to blame
        log_event("memory_ceiling", instance=settings.instance, limit_mb=ceiling.limit_mb, exit_code=EXIT_MEMORY)
        raise HaltServer(f"{settings.instance} held over {ceiling.limit_mb} MiB", EXIT_MEMORY)
    if hung or not server.stop_asked:
        _blame_pictures(engine_alone=hung)
    if hung:
        log_event("engine_hang", instance=settings.instance, limit_s=settings.watchdog_s, exit_code=EXIT_HANG)
        raise HaltServer(f"an inference of {settings.instance} took over {settings.watchdog_s} s", EXIT_HANG)
    if not server.stop_asked:
        raise HaltServer(f"worker {worker.pid} of {settings.instance} died", EXIT_WORKER_DIED)


def _blame_pictures(*, engine_alone: bool) -> None:
    try:
        if count := quarantine.blame(engine_alone=engine_alone):
            log_event("pictures_blamed", instance=settings.instance, pictures=count, folder=settings.quarantine)
    except OSError as error:  # a full disk must not keep the instance from starting again
        log_event("pictures_not_blamed", instance=settings.instance, reason=str(error))


def worker_exit(server: Any, worker: Any) -> None:
    """Closes the engine in the thread that owns it."""
    if getattr(worker, "wsgi", None) is not None and worker.pid == os.getpid():  # else it never booted
        worker.wsgi.extensions["detector"].batcher.stop()


def _draining(worker: Any) -> Any:
    """Makes what switches the worker's accepting on and off: off for good closes the port, and loses nobody who waits.

    A stopping worker's loop switches it off once, before it looks whether a connection is left to wait for.
    """
    switch = worker.set_accept_enabled

    def set_accept_enabled(enabled: bool) -> None:
        switch(enabled)
        if enabled or worker.alive:
            return
        for listener in worker.sockets:
            if listener.sock is not None:
                _accept_waiting(worker, listener)
                listener.close()
        drain_turn.leave()

    return set_accept_enabled


def _accepting(worker: Any) -> Any:
    """Makes what takes one connection: where that fails, as without file descriptors, the worker drains and ends.

    An exception would end it in the middle of its requests.
    """
    take = worker.accept

    def accept(listener: Any) -> None:
        try:
            take(listener)
        except OSError as error:
            if worker.alive:
                log_event("cannot_accept", instance=settings.instance, reason=str(error), exit_code=EXIT_WORKER_DIED)
            worker.alive = False

    return accept


def _accept_waiting(worker: Any, listener: Any) -> None:
    """Takes the connections the kernel has already completed; closing the socket would reset them."""
    accepted = -1
    while accepted != worker.nr_conns:
        accepted = worker.nr_conns
        worker.accept(listener)


def _address() -> str:
    return in_address(resolve(settings.host, settings.port), settings.port)
