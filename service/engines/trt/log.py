"""TensorRT's own words: where one of its calls fails it only returns None or False, and tells its logger why."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorrt


class ErrorLog:
    """Keeps what TensorRT reports as errors.

    `logger` is what TensorRT's objects take; it has to live as long as they do.

    Args:
        trt: the `tensorrt` module, or one with its interface.
    """

    def __init__(self, trt: Any) -> None:
        errors: deque[str] = deque(maxlen=16)
        kept = (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR)

        class Logger(trt.ILogger):  # type: ignore[misc]  # the base class is known only now
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: tensorrt.ILogger.Severity, msg: str) -> None:
                if severity in kept:
                    errors.append(msg)

        self.logger: tensorrt.ILogger = Logger()
        self._errors = errors

    def reason(self) -> str:
        """The first error since this was last asked, in one line; the errors behind it are its fallout."""
        lines = self._errors[0].splitlines() if self._errors else []
        self._errors.clear()
        return lines[0] if lines else "it gave no reason"
