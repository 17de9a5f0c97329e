"""The service's one tree of errors, from what a client did wrong to what ends the process.

ServiceError
|- RequestError                      the client's fault: answered in detail, never logged as a traceback
|  |- MalformedBody      400  malformed_body
|  |- NoKey              401  no_key
|  |- WrongScope         403  wrong_scope
|  |- UnknownHost        421  unknown_host
|  |- BodyTooLarge       413  body_too_large
|  |- ImageTooLarge      413  image_too_large
|  |- UnsupportedBody    415  unsupported_body
|  |- InvalidValue       422  invalid_value
|  `- Quarantined        422  quarantined
|- Overloaded            503  overloaded         retryable: the answer carries Retry-After
|- DeadlineExceeded      504  deadline_exceeded  retryable
|- InferenceFailed       500  inference_failed   ours: logged in full, answered plainly
|  `- OutOfMemory        503  out_of_memory      retryable; the engine goes on
|- EngineFault           (no answer)             the engine can't be trusted any more: the process ends
`- StartError            (no answer)             the service can't start: one line saying what to do
"""


class ServiceError(Exception):
    """Base of every error this service raises on purpose."""

    status: int = 500
    code: str = "internal_error"
    title: str = "Internal error"
    retry_after_s: int | None = None


def forget(error: BaseException | None) -> None:
    """Takes the tracebacks off an error that is answered: their frames hold pictures, in cycles, long afterwards."""
    while error is not None:
        error.__traceback__ = None
        following = error.__cause__ or error.__context__
        error.__cause__ = error.__context__ = None
        error = following


class RequestError(ServiceError):
    """The request cannot be answered as it was sent; sending it again will not help."""

    status = 400
    code = "bad_request"
    title = "Bad request"


class MalformedBody(RequestError):
    """The body is of a known kind but broken: truncated, not decodable, not parseable."""

    code = "malformed_body"
    title = "Malformed body"


class NoKey(RequestError):
    """The service asks for an API key, and the request has none that it knows."""

    status = 401
    code = "no_key"
    title = "No key"


class WrongScope(RequestError):
    """The key is known, but may not do this."""

    status = 403
    code = "wrong_scope"
    title = "Wrong scope"


class UnknownHost(RequestError):
    """Figures were asked for by a name that is not this machine's."""

    status = 421
    code = "unknown_host"
    title = "Misdirected request"


class BodyTooLarge(RequestError):
    """The body has more bytes than the service takes."""

    status = 413
    code = "body_too_large"
    title = "Body too large"


class ImageTooLarge(RequestError):
    """The picture's header announces more pixels, or its file has more parts, than the service decodes."""

    status = 413
    code = "image_too_large"
    title = "Image too large"


class UnsupportedBody(RequestError):
    """The body's first bytes are of no kind the route takes."""

    status = 415
    code = "unsupported_body"
    title = "Unsupported body"


class InvalidValue(RequestError):
    """A field or parameter is missing, of the wrong type, out of range or contradicts another."""

    status = 422
    code = "invalid_value"
    title = "Invalid value"


class Quarantined(RequestError):
    """Instances died while they worked on this very picture; see `service.safeguards.quarantine`."""

    status = 422
    code = "quarantined"
    title = "Quarantined"


class Overloaded(ServiceError):
    """As many requests are in the instance as it admits; this one was refused at once."""

    status = 503
    code = "overloaded"
    title = "Overloaded"
    retry_after_s = 1


class DeadlineExceeded(ServiceError):
    """The request's deadline passed before its answer was ready."""

    status = 504
    code = "deadline_exceeded"
    title = "Deadline exceeded"


class InferenceFailed(ServiceError):
    """The engine refused this batch but is still usable."""

    code = "inference_failed"
    title = "Inference failed"


class OutOfMemory(InferenceFailed):
    """The device had no memory for this frame; it is not lost for the next one."""

    status = 503
    code = "out_of_memory"
    title = "Out of memory"
    retry_after_s = 1


class EngineFault(ServiceError):
    """The engine's device or context is unusable from now on; only a new process helps."""


class StartError(ServiceError):
    """The service cannot start with these settings or this model; the message says what to change."""
