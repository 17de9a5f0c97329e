"""How a key travels, in the OpenAPI document; only instances that ask for keys mention them."""

from typing import Any

from service.access import OPEN
from service.settings import Settings

Json = dict[str, Any]

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
ABOUT = """

This service asks for an API key, as `Authorization: Bearer KEY` or `X-API-Key: KEY`. `/livez`, `/readyz`, the pages \
and this document need none.\
"""


def with_security(document: Json, settings: Settings) -> Json:
    """Adds to a document which operations ask for a key, and how it is sent; as it is where nobody is asked."""
    if not settings.keys:
        return document
    info = {**document["info"], "description": document["info"]["description"] + ABOUT}
    components = {**document["components"], "securitySchemes": SCHEMES}
    paths = {path: _opened(item) if path in OPEN else item for path, item in document["paths"].items()}
    asked: list[Json] = [{scheme: []} for scheme in SCHEMES]
    return {**document, "info": info, "components": components, "paths": paths, "security": asked}


def _opened(item: Json) -> Json:
    return {method: {**operation, "security": []} for method, operation in item.items()}
