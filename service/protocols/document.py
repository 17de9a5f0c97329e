"""The OpenAPI document of one instance, made from the declarations that validate its requests.

Limits and defaults come from the settings and from `native/query.py`, class names from the model, problems from
`service.errors`: what the document says is what the routes do.

`with_security`: how a key travels, in the OpenAPI document; only instances that ask for keys mention them.
"""

from collections.abc import Callable

import msgspec

from service.access import OPEN
from service.engines import EngineInfo
from service.openapi.headers import answer_headers
from service.openapi.problems import problem_answers, problem_schemas
from service.openapi.shapes import Json
from service.protocols.deepstack.routes import deepstack_paths, deepstack_schemas
from service.protocols.native.openapi import detect_paths, detect_schemas
from service.protocols.oip.openapi import oip_paths, oip_schemas
from service.protocols.ops.routes import ops_paths, ops_schemas
from service.settings import Settings

BEARER, HEADER, PASSWORD = "bearer", "header", "password"
SCHEMES: Json = {
    BEARER: {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer KEY`."},
    HEADER: {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "`X-API-Key: KEY`."},
    PASSWORD: {
        "type": "http",
        "scheme": "basic",
        "description": "The key as password, for clients that take nothing but an address; any user name.",
    },
}
ABOUT_KEYS = """

This service asks for an API key, as `Authorization: Bearer KEY` or `X-API-Key: KEY`. `/livez`, `/readyz`, the pages \
and this document need none.\
"""
# The newest version that the common client generators read without complaint.
OPENAPI_VERSION = "3.0.3"
API_VERSION = "1.0.0"
# A module of `service.protocols` that speaks to programs adds its paths and schemas here.
PATHS: tuple[Callable[[Settings, EngineInfo, str], Json], ...] = (
    detect_paths,
    deepstack_paths,
    oip_paths,
    ops_paths,
)
SCHEMAS: tuple[Callable[[Settings, EngineInfo], Json], ...] = (
    detect_schemas,
    deepstack_schemas,
    oip_schemas,
    ops_schemas,
)
TAGS = (
    ("Detection", "Pictures in, boxes out."),
    ("Instance", "Who answers, how it is doing, and this document."),
)
ABOUT = """\
Finds objects in pictures. A body is recognised by its first bytes, whatever Content-Type says; but a form's boundary \
is that of its Content-Type, where there is one.

Every answer names its request (`X-Request-ID`), and that of an instance the instance too (`X-Instance`). Whatever \
goes wrong is answered as a problem document (RFC 9457) with a `code` to program against and a `detail` that says what \
to do; below `/v1/vision` and `/v2` instances answer it in those protocols' own shapes.\
"""


def openapi_document(settings: Settings, info: EngineInfo, url: str) -> Json:
    """Makes the document.

    Args:
        settings: the instance's settings.
        info: the engine and the model it runs.
        url: where the reader reaches the instance, without a slash at the end; the examples use it.

    Returns:
        An OpenAPI document, ready to be written as JSON.
    """
    document: Json = {
        "openapi": OPENAPI_VERSION,
        "info": {
            "title": "Framefleet",
            "version": API_VERSION,
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": description} for name, description in TAGS],
        "paths": {path: item for paths in PATHS for path, item in paths(settings, info, url).items()},
        "components": {
            "schemas": {
                **{name: schema for schemas in SCHEMAS for name, schema in schemas(settings, info).items()},
                **problem_schemas(),
            },
            "responses": problem_answers(),
            "headers": answer_headers(),
        },
    }
    return with_security(msgspec.to_builtins(document), settings)


def with_security(document: Json, settings: Settings) -> Json:
    """Adds to a document which operations ask for a key, and how it is sent; as it is where nobody is asked."""
    if not settings.keys:
        return document
    info = {**document["info"], "description": document["info"]["description"] + ABOUT_KEYS}
    components = {**document["components"], "securitySchemes": SCHEMES}
    paths = {path: _opened(item) if path in OPEN else item for path, item in document["paths"].items()}
    asked: list[Json] = [{scheme: []} for scheme in SCHEMES]
    return {**document, "info": info, "components": components, "paths": paths, "security": asked}


def _opened(item: Json) -> Json:
    return {method: {**operation, "security": []} for method, operation in item.items()}
