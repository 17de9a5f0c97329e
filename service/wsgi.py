"""What gunicorn loads in its worker: one instance, made from the environment, or one line saying why not."""

import sys
from typing import TYPE_CHECKING

from framefleet.command import tell
from service.errors import StartError
from service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

    from service.engines import Engine
    from service.safeguards.quarantine import Quarantine
    from service.safeguards.watchdog import Watchdog

# gunicorn's master takes this exit code of a worker as "failed to boot" and ends, so that supervisor learns of it.
EXIT_FAILED_TO_BOOT = 3


def application(
    settings: Settings, watchdog: "Watchdog", quarantine: "Quarantine", open_engine: "Callable[[], Engine]"
) -> "Flask":
    """Loads and warms up the model, then makes the application.

    Args:
        settings: the instance's.
        watchdog: bounds each inference.
        quarantine: keeps out pictures that instances die of.
        open_engine: makes the engine.

    Raises:
        SystemExit: the instance cannot start; the reason is on stderr in one line.
    """
    try:
        return _make(settings, watchdog, quarantine, open_engine)
    except StartError as error:
        print(f"cannot start: {error}", file=sys.stderr, flush=True)
    except Exception as error:  # gunicorn would print its traceback
        tell("service", error, lead="cannot start")
    raise SystemExit(EXIT_FAILED_TO_BOOT)


def _make(
    settings: Settings, watchdog: "Watchdog", quarantine: "Quarantine", open_engine: "Callable[[], Engine]"
) -> "Flask":
    # Here, so that a package that is missing is one line too.
    from service.app import create_app
    from service.pipeline.detector import Detector

    detector = Detector(settings, open_engine=open_engine, watchdog=watchdog, quarantine=quarantine)
    detector.start()
    return create_app(settings, detector)
