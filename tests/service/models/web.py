"""A web server that a test controls: ranges, tags, cut connections and error pages."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What is served at every path, and what was asked.

    `cut_after`: the next answers end after so many bytes of their body, though more were announced.
    """

    url: str
    content: bytes
    tag: str | None = '"1"'
    kind: str = "application/octet-stream"
    status: int = 200
    cut_after: int | None = None
    ranges: list[str | None] = field(default_factory=list)


@contextmanager
def site(content: bytes) -> Iterator[Site]:
    """A server on a free port of 127.0.0.1."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        served = Site(f"http://127.0.0.1:{server.server_address[1]}", content)
        server.RequestHandlerClass = _handler(served)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()


def _handler(served: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers["Range"]
            served.ranges.append(wanted)
            match = re.fullmatch(r"bytes=(\d+)-", wanted or "")
            is_same = self.headers["If-Range"] in (None, served.tag)
            first = int(match[1]) if match and is_same else 0
            body = served.content[first:]
            self.send_response(206 if first and served.status == 200 else served.status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", served.kind)
            if served.tag is not None:
                self.send_header("ETag", served.tag)
            self.end_headers()
            self.wfile.write(body if served.cut_after is None else body[: served.cut_after])

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    return Handler
