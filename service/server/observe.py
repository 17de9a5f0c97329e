"""What an operator sees of a request: its id, the instance, metrics, and a JSON log line where it is worth one."""

import itertools
import os
import time

from flask import Flask, Response, g, request

from framefleet.wire.answers import Problem
from service.log import log_event
from service.openapi.headers import SANE_ID
from service.pipeline.metrics import Metrics
from service.protocols.ops.recent import Recent
from service.settings import Settings

ID_BYTES = 16
FINE = range(200, 400)  # a 304 is how a browser reloads the page


def observe(app: Flask, settings: Settings, metrics: Metrics, recent: Recent) -> None:
    """Gives every answer its `X-Request-ID` and `X-Instance`, counts it, and logs the ones that are worth it."""
    passed = itertools.count(1)

    @app.before_request
    def begin() -> None:
        g.began = time.monotonic()
        given = request.headers.get("X-Request-ID", "")
        g.request_id = given if given and SANE_ID.fullmatch(given) else os.urandom(ID_BYTES).hex()
        metrics.in_flight.inc()

    @app.after_request
    def finish(response: Response) -> Response:
        response.headers["X-Request-ID"] = g.request_id
        response.headers["X-Instance"] = settings.instance
        if g.get("asked_twice"):
            return response
        route = request.url_rule.rule if request.url_rule else "none"
        metrics.count(route, response.status_code)
        if request.method == "POST":
            _time(route, response.status_code, metrics, recent)
        if response.status_code not in FINE or _sampled(next(passed), settings.log_every):
            _log_request(response)
        return response

    @app.teardown_request
    def end(error: BaseException | None) -> None:
        metrics.in_flight.dec()


def request_id() -> str:
    """The id of the request being answered."""
    given: str = g.request_id
    return given


def _time(route: str, status: int, metrics: Metrics, recent: Recent) -> None:
    seconds = time.monotonic() - g.began
    recent.record(seconds * 1000, status)
    if status in FINE:
        metrics.time(route, seconds)


def _sampled(number: int, every: int) -> bool:
    return every > 0 and number % every == 0


def _log_request(response: Response) -> None:
    problem: Problem | None = g.get("problem")
    log_event(
        "request" if response.status_code in FINE else "request_failed",
        request_id=g.request_id,
        method=request.method,
        path=request.path,
        status=response.status_code,
        code=problem.code if problem else "",
        detail=problem.detail if problem else "",
        key=g.get("key", ""),
        ms=round((time.monotonic() - g.began) * 1000, 1),
    )
