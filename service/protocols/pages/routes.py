"""The pages at `/` and `/fleet` and the files they are made of: read and rendered once, then answered from memory.

A page request costs no disk access and never touches the engine, so looking at the page does not disturb detection.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flask import Blueprint, Response, request
from werkzeug.exceptions import NotFound

from service.engines import EngineInfo
from service.pipeline.detector import Detector
from service.protocols.native.query import PARAMETERS
from service.protocols.pages.templates import STATIC, templates
from service.settings import Settings

CONTENT_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
# The page's address stays while releases change, so browsers ask each time; the files' addresses name their content.
REVALIDATE = "no-cache"
FOR_EVER = "public, max-age=31536000, immutable"
SECURITY_HEADERS = {
    "Content-Security-Policy": "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "media-src blob:",  # a chosen clip
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        ]
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=(), display-capture=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",  # frame-ancestors, for browsers that do not know it
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as it is sent: its `body`, `content_type` and `etag` (equal on every instance of a release)."""

    body: bytes
    content_type: str
    etag: str


@dataclass(frozen=True, slots=True)
class Assets:
    """The page's files by name; `version` is a digest of all of them and part of their addresses."""

    files: Mapping[str, Asset]
    version: str


def pages_routes(detector: Detector, settings: Settings) -> Blueprint:
    """Makes `/`, `/fleet` and the pages' files.

    Args:
        detector: started; its engine's description is on the page.
        settings: give the sliders their starting points and the page the size limits.
    """
    routes = Blueprint("pages", __name__)
    assets = read_assets(STATIC)
    page = _asset(render_page(detector.batcher.info, settings, assets.version), "text/html; charset=utf-8")
    fleet_page = _asset(render_fleet_page(assets.version), "text/html; charset=utf-8")

    @routes.get("/")
    def demo() -> Response:
        return _answer(page, REVALIDATE)

    @routes.get("/fleet")
    def fleet() -> Response:
        return _answer(fleet_page, REVALIDATE)

    @routes.get("/static/<version>/<name>")
    def asset(version: str, name: str) -> Response:
        # While a release is rolled out, its page may ask an instance of another one: files are never mixed.
        if version != assets.version or name not in assets.files:
            raise NotFound("static: no such file in this release; reload the page")
        return _answer(assets.files[name], FOR_EVER)

    @routes.after_request
    def protect(response: Response) -> Response:
        response.headers.update(SECURITY_HEADERS)
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    return routes


def read_assets(folder: Path) -> Assets:
    """Reads every file of the page.

    Args:
        folder: holds the files, without folders of its own.
    """
    files = {
        path.name: _asset(path.read_bytes(), CONTENT_TYPES[path.suffix])
        for path in sorted(folder.iterdir())
        if path.suffix in CONTENT_TYPES
    }
    return Assets(files, _digest("\n".join(f"{name} {asset.etag}" for name, asset in files.items()).encode()))


def render_page(info: EngineInfo, settings: Settings, version: str) -> bytes:
    """Renders the demo page, UTF-8; it names no instance, so every instance of a release sends the same bytes.

    Args:
        info: the engine's description.
        settings: the defaults of `/v1/detect` and its limits.
        version: see `Assets`.
    """
    limits = {parameter.name: (parameter.low, parameter.high) for parameter in PARAMETERS}
    return _render("demo.html", version, info=info, settings=settings, limits=limits)


def render_fleet_page(version: str) -> bytes:
    """Renders the fleet page, UTF-8, the same on every instance of a release.

    Args:
        version: see `Assets`.
    """
    return _render("fleet.html", version)


def _render(template: str, version: str, **values: object) -> bytes:
    return templates().get_template(template).render(assets=f"static/{version}", **values).encode()


def _asset(body: bytes, content_type: str) -> Asset:
    return Asset(body, content_type, _digest(body))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _answer(asset: Asset, cache_control: str) -> Response:
    response = Response(asset.body, content_type=asset.content_type)
    response.headers["Cache-Control"] = cache_control
    response.set_etag(asset.etag)
    response.make_conditional(request)
    return response
