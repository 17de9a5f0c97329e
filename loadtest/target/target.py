"""The service under test as seen before and after the load: the only file that speaks HTTP outside Locust."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import requests

from framefleet.http.session import open_session
from loadtest.errors import TargetError
from loadtest.target.api_key import key_header
from loadtest.target.certificate import refusal

BAD_GATEWAY_CODES = (502, 503, 504)


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP reply.

    Attributes:
        status: HTTP status code.
        body: undecoded body.
        instance: the `X-Instance` header, empty if there is none.
    """

    status: int
    body: bytes
    instance: str


class Target:
    """A fleet or a single instance behind one URL, over one kept-alive connection; use it with `with`.

    Args:
        url: `http://host:port`.
        timeout_s: limit for connecting and for each reply.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        # A proxy from the environment would be measured along; certificates come from there (see `certificate.trust`).
        self._session = open_session()
        self._session.headers.update(key_header())

    def __enter__(self) -> "Target":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def detect(self, route: str, body: bytes, content_type: str) -> Reply:
        """Sends one picture and waits; an empty content type sends none.

        Raises:
            TargetError: no reply.
        """
        return self._ask("POST", route, body, {"Content-Type": content_type} if content_type else {})

    def get(self, route: str) -> Reply:
        """Reads a document of whichever instance answers.

        Raises:
            TargetError: no reply.
        """
        return self._ask("GET", route)

    def check_ready(self) -> None:
        """Makes sure that something able to answer is there.

        Raises:
            TargetError: nothing listens, or only a balancer without instances.
        """
        reply = self.get("/readyz")
        if reply.status in BAD_GATEWAY_CODES:
            raise TargetError(f"{self._url}/readyz: {reply.status}, no instance is ready behind it; see `make status`")

    def status(self) -> dict[str, Any]:
        """The `/status` document of one instance; empty if there is none, for it is only provenance."""
        try:
            reply = self._session.get(f"{self._url}/status", timeout=self._timeout_s)
            document = reply.json() if reply.ok else {}
        except (OSError, ValueError):
            return {}
        return document if isinstance(document, dict) else {}

    def _ask(
        self, method: str, route: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        try:
            reply = self._session.request(
                method, self._url + route, data=body, headers=headers, timeout=self._timeout_s
            )
        except requests.Timeout:
            raise TargetError(f"{self._url}{route}: no answer within {self._timeout_s:g} s") from None
        except requests.exceptions.SSLError as error:
            raise TargetError(refusal(self._url, error)) from None
        except requests.ConnectionError:
            raise TargetError(f"no fleet answers at {self._url}: start it with `make up`") from None
        except OSError as error:  # requests' own errors, or certificates that cannot be read
            raise TargetError(f"{self._url}{route}: {error}") from None
        return Reply(reply.status_code, reply.content, reply.headers.get("X-Instance", ""))
