"""The API's own description: `/openapi.json` for tools, and the same document rendered at `/docs` for people."""

from flask import Blueprint, Response, request

from service.host import in_address
from service.pipeline.detector import Detector
from service.protocols.document import openapi_document
from service.protocols.exchange import json_answer
from service.protocols.pages.api_tables import docs_page
from service.protocols.pages.templates import STATIC, templates
from service.settings import Settings

# Nothing but our own style sheet: no script, no picture, no font, nothing from elsewhere.
POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def api_docs_routes(detector: Detector, settings: Settings) -> Blueprint:
    """Makes `/openapi.json`, `/docs` and its style sheet."""
    routes = Blueprint("api_docs", __name__)
    info = detector.batcher.info
    style = (STATIC / "docs.css").read_bytes()
    template = templates().get_template("docs.html")

    def address() -> str:
        # A Host header that is none leaves an empty host; the examples then name the instance itself.
        return request.root_url.rstrip("/") if request.host else f"http://{in_address(settings.host, settings.port)}"

    @routes.get("/openapi.json")
    def openapi() -> Response:
        return json_answer(openapi_document(settings, info, address()))

    @routes.get("/docs")
    def docs() -> Response:
        page = docs_page(openapi_document(settings, info, address()))
        answer = Response(template.render(page=page), content_type="text/html; charset=utf-8")
        answer.headers["Content-Security-Policy"] = POLICY
        answer.headers["Referrer-Policy"] = "no-referrer"
        answer.headers["X-Content-Type-Options"] = "nosniff"
        return answer

    @routes.get("/docs.css")
    def docs_style() -> Response:
        answer = Response(style, content_type="text/css; charset=utf-8")
        answer.headers["Cache-Control"] = "no-cache"
        return answer

    return routes
