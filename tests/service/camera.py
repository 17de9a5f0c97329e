"""A camera or file server on loopback: snapshots, streams, clips, and those that break off."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True, slots=True)
class Resource:
    """What one path answers: `announced` bytes of `body`, of which all that there are come; None announces nothing."""

    kind: str
    body: bytes
    announced: int | None = None


def stream(jpegs: list[bytes]) -> Resource:
    """The stream of an MJPEG camera that breaks off behind so many pictures."""
    head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
    body = b"".join(head % len(jpeg) + jpeg + b"\r\n" for jpeg in jpegs)
    return Resource("multipart/x-mixed-replace; boundary=frame", body)


@contextmanager
def running_camera(resources: Mapping[str, Resource]) -> Iterator[str]:
    """Serves the paths, and 404 elsewhere; gives the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            resource = resources.get(self.path)
            self.send_response(200 if resource else 404)
            if resource:
                self.send_header("Content-Type", resource.kind)
                if resource.announced is not None:
                    self.send_header("Content-Length", str(resource.announced))
            self.end_headers()
            if resource:
                self.wfile.write(resource.body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Whoever looked has seen enough, and hung up."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
