"""The application factory: settings and a started detector in, a Flask application out.

`WholeAnswer`: sends an answer's headers and body in one write, so that a killed process leaves a whole answer or
none, up to 2 MB.

gunicorn writes headers first and the body second. A process killed in between has answered half, and a balancer that
has passed the headers on cannot ask another instance any more. What the kernel's send buffer takes at once, over 2 MB
on loopback, outlives the process; a larger answer may be cut, which its Content-Length tells.

A refusal that has not read the body says that the connection ends with it; gunicorn ends it then, but without a word.
"""

from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask

from service.access import require_keys, require_known_host
from service.pipeline.detector import Detector
from service.problems import answer_problems
from service.protocols.deepstack.routes import deepstack_problem, deepstack_routes
from service.protocols.native.routes import detect_routes
from service.protocols.oip.routes import oip_problem, oip_routes
from service.protocols.ops.recent import Recent
from service.protocols.ops.routes import ops_routes
from service.protocols.pages.api_docs import api_docs_routes
from service.protocols.pages.routes import pages_routes
from service.server.observe import observe
from service.settings import Settings

Environ = dict[str, Any]
REFUSED_UNREAD = ("401", "403", "413")
Wsgi = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


class WholeAnswer:
    """WSGI middleware for answers whose body is one piece of known length; others pass as they are.

    Args:
        application: what answers.
    """

    def __init__(self, application: Wsgi) -> None:
        self._application = application

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answers one request."""

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            written = start_response(status, headers, *rest)
            # gunicorn's start_response belongs to the response, which holds the connection it writes to.
            response: Any = getattr(start_response, "__self__", None)
            if status[:3] in REFUSED_UNREAD and hasattr(response, "force_close"):
                response.force_close()
            length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
            if length > 0 and environ["REQUEST_METHOD"] != "HEAD" and hasattr(response, "sock"):
                response.sock = _HeldBack(response.sock)
            return written

        return self._application(environ, start)


class _HeldBack:
    """A socket that keeps the first write, the headers, until the second one comes."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._headers: bytes | None = None
        self._begun = False

    def sendall(self, data: bytes) -> None:
        if not self._begun:
            self._headers, self._begun = data, True
            return
        held, self._headers = self._headers or b"", None
        self._connection.sendall(held + data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class _Service(Flask):
    """Flask, told that nothing here is asynchronous: it would look at every function again at every request."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func


def create_app(settings: Settings, detector: Detector) -> Flask:
    """Makes the application of one instance.

    Args:
        settings: the instance's settings.
        detector: started; whoever started it stops it.
    """
    app: Flask = _Service("service", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.url_map.merge_slashes = (
        False  # "//" is a wrong path like others: a redirect is a page that no client here reads
    )
    app.extensions["detector"] = detector
    recent = Recent()
    observe(app, settings, detector.metrics, recent)
    require_known_host(app)
    require_keys(app, settings.keys, nginx_alone=bool(settings.allow))
    answer_problems(app, {"/v2": oip_problem, "/v1/vision": deepstack_problem})
    app.register_blueprint(detect_routes(detector, settings))
    app.register_blueprint(oip_routes(detector, settings))
    app.register_blueprint(deepstack_routes(detector, settings))
    app.register_blueprint(ops_routes(detector, settings, recent))
    app.register_blueprint(api_docs_routes(detector, settings))
    app.register_blueprint(pages_routes(detector, settings))
    app.wsgi_app = WholeAnswer(app.wsgi_app)  # type: ignore[method-assign]  # how Flask takes middleware
    return app
