"""The least that a request can cost in Python, as a yardstick: `python -m bench.bare_server PORT`.

The standard library's HTTP server with a thread for each connection; one other decodes into memory that is there and
scales into the model's input. Nothing is checked, and the answer is always the same.
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("bench.bare_server")


import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import numpy.typing as npt
import pybase64
import simplejpeg

Pixels = npt.NDArray[np.uint8]
INPUT_SIDE = 640
GREY = 128
ANSWER = json.dumps({"detections": [{"label": "object", "class_id": 0, "score": 0.9, "box": [0, 0, 80, 80]}]}).encode()


class BareWork:
    """Decodes and scales, always into the same memory."""

    def __init__(self) -> None:
        self._slot = np.zeros((INPUT_SIDE, INPUT_SIDE, 3), np.uint8)
        self._pixels = np.zeros(0, np.uint8)

    def jpeg(self, body: bytes) -> Pixels:
        """Of a JPEG file; gives the input."""
        height, width, _, _ = simplejpeg.decode_jpeg_header(body)
        if self._pixels.size != height * width * 3:
            self._pixels = np.zeros(height * width * 3, np.uint8)
        return self._letterbox(simplejpeg.decode_jpeg(body, "BGR", buffer=self._pixels))

    def first_protocol(self, body: bytes) -> Pixels:
        """Of the first server's JSON; gives the input."""
        document = json.loads(body)
        pixels = np.frombuffer(pybase64.b64decode(document["image"]), np.uint8)
        return self._letterbox(pixels.reshape(document["height"], document["width"], 3))

    def _letterbox(self, pixels: Pixels) -> Pixels:
        """Not the service's own, which would hide its getting slower."""
        height, width = pixels.shape[:2]
        scale = INPUT_SIDE / max(width, height)
        wide, high = int(width * scale), int(height * scale)
        top = (INPUT_SIDE - high) // 2
        cv2.resize(pixels, (wide, high), dst=self._slot[top : top + high, :wide], interpolation=cv2.INTER_LINEAR)
        self._slot[:top] = GREY
        self._slot[top + high :] = GREY
        return self._slot


class Handler(BaseHTTPRequestHandler):
    """Answers every POST."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one write
    work = BareWork()
    worker = ThreadPoolExecutor(1)

    def do_POST(self) -> None:
        """Hands the body to the worker, as a request thread does to a batch, and waits for it."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        work: Callable[[bytes], Pixels] = self.work.first_protocol if self.path == "/predict" else self.work.jpeg
        self.worker.submit(work, body).result()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def do_GET(self) -> None:
        """Says that it is there."""
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


def main(arguments: Sequence[str]) -> None:
    """Serves on a port of this machine until it is ended."""
    cv2.setNumThreads(1)
    ThreadingHTTPServer(("127.0.0.1", int(arguments[0])), Handler).serve_forever()
