"""What gunicorn loads in its worker: one instance, made from the environment, or one line saying why not."""

import os
import sys

from flask import Flask

from service.app import create_app
from service.detector import Detector
from service.errors import StartError
from service.quarantine import make_quarantine
from service.settings import read_settings
from service.watchdog import Watchdog

# gunicorn's master takes this exit code of a worker as "failed to boot" and ends, so that supervisor learns of it.
EXIT_FAILED_TO_BOOT = 3


def application(watchdog_fd: int, in_flight_fd: int) -> Flask:
    """Loads and warms up the model, then makes the application.

    Args:
        watchdog_fd: see `service.watchdog.shared_memory`.
        in_flight_fd: see `service.quarantine.shared_table`.

    Raises:
        SystemExit: the instance cannot start; the reason is on stderr in one line.
    """
    try:
        settings = read_settings(os.environ)
        detector = Detector(
            settings,
            watchdog=Watchdog(settings.watchdog_s, watchdog_fd),
            quarantine=make_quarantine(settings, in_flight_fd),
        )
        detector.start()
    except StartError as error:
        print(f"cannot start: {error}", file=sys.stderr, flush=True)
        raise SystemExit(EXIT_FAILED_TO_BOOT) from None
    return create_app(settings, detector)
