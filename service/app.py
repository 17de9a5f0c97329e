"""The application factory: settings and a started detector in, a Flask application out."""

from collections.abc import Callable
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
from service.server.whole_answer import WholeAnswer
from service.settings import Settings


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
