"""What gunicorn loads in its worker: one instance, made from the environment, or one line saying why not."""

import os
import sys
from typing import TYPE_CHECKING

from framefleet.command import tell
from service.errors import StartError

if TYPE_CHECKING:
    from flask import Flask

# gunicorn's master takes this exit code of a worker as "failed to boot" and ends, so that supervisor learns of it.
EXIT_FAILED_TO_BOOT = 3


def application(watchdog_fd: int, in_flight_fd: int) -> "Flask":
    """Loads and warms up the model, then makes the application.

    Args:
        watchdog_fd: see `service.safeguards.watchdog.shared_memory`.
        in_flight_fd: see `service.safeguards.in_work.shared_table`.

    Raises:
        SystemExit: the instance cannot start; the reason is on stderr in one line.
    """
    try:
        return _make(watchdog_fd, in_flight_fd)
    except StartError as error:
        print(f"cannot start: {error}", file=sys.stderr, flush=True)
    except Exception as error:  # gunicorn would print its traceback
        tell("service", error, lead="cannot start")
    raise SystemExit(EXIT_FAILED_TO_BOOT)


def _make(watchdog_fd: int, in_flight_fd: int) -> "Flask":
    # Here, so that a package that is missing is one line too.
    from service.app import create_app
    from service.pipeline.detector import Detector
    from service.safeguards.quarantine import make_quarantine
    from service.safeguards.watchdog import Watchdog
    from service.settings import read_settings

    settings = read_settings(os.environ)
    detector = Detector(
        settings,
        watchdog=Watchdog(settings.watchdog_s, watchdog_fd),
        quarantine=make_quarantine(settings, in_flight_fd),
    )
    detector.start()
    return create_app(settings, detector)
