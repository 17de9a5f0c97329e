"""gunicorn's settings for one instance, and the hooks its master calls; what its worker does is in `worker.py`."""

import os
import sys
from typing import Any

from framefleet.command import tell

try:
    from service.cpus import keep_to_cpus
    from service.errors import StartError
    from service.log import log_event
    from service.safeguards.watchdog import heed_alarm
    from service.server.allow import parse_allow
    from service.server.worker import DetectorArbiter
    from service.settings import read_settings
    from service.surroundings import check_surroundings
except ImportError as import_error:
    raise SystemExit(tell("service", import_error, lead="cannot start")) from None

EXIT_BAD_SETTINGS = 78  # EX_CONFIG

try:
    settings = read_settings(os.environ)
    parse_allow(settings.allow)
    check_surroundings(settings)
except StartError as start_error:
    print(f"cannot start: {start_error}", file=sys.stderr, flush=True)
    raise SystemExit(EXIT_BAD_SETTINGS) from None
if missing := keep_to_cpus(settings.cpus):  # before the worker counts them, or starts a thread
    log_event("cpus_not_used", instance=settings.instance, reason=f"FRAMEFLEET_CPUS: {missing}")

heed_alarm()

wsgi_app = "service.wsgi:application"  # gunicorn asks for a name; the worker calls it with what it shares
worker_class = "service.server.worker.DetectorWorker"  # of threads: decoding releases the GIL
proc_name = f"framefleet-{settings.instance}"
bind: list[str] = []  # the worker binds, see DetectorWorker.listen
workers = 1  # one process owns the model, so batches stay whole; scale by instances
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
    """Makes the master one that knows whether it was asked to stop: gunicorn has no setting for its class."""
    server.__class__ = DetectorArbiter


def child_exit(server: Any, worker: Any) -> None:
    """Ends the master with its worker.

    Raises:
        HaltServer: the worker was not asked to stop.
    """
    worker.explain_exit(stop_asked=server.stop_asked)
