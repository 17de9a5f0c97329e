"""Every limit on what a client may send, under, at and over it, at one real instance.

Two more are too large for its wire and have tests of their own: the numbers that a tensor in JSON may have
(test_oip_limits) and the requests that are in the instance at once (test_batcher).
"""

import base64
import gzip
import json
import math
import re
import socket
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.parser import BytesHeaderParser

import cv2
import numpy as np
import pytest

from service.pictures.form import MAX_BOUNDARY_BYTES, MAX_FIELD_BYTES, MAX_FORM_PARTS, MAX_PART_HEAD_BYTES
from service.pictures.jpeg import MAX_JPEG_SCANS, MAX_JPEG_SEGMENTS
from service.pictures.json_depth import MAX_JSON_DEPTH
from service.pictures.png import MAX_PNG_CHUNKS
from service.pictures.webp import MAX_WEBP_CHUNKS
from service.protocols.oip.request import MAX_NAME, MAX_RANK, MAX_SMALL_JSON_BYTES
from tests.instance import RunningInstance, running_instance
from tests.service.flat_jpeg import EOI, SOI, frame, interleaved, scan_head, tables

SETTINGS = {"max_body_bytes": 200_000, "max_pixels": 6400, "max_side": 200, "max_files": 3, "queue_size": 8}
# As gunicorn.conf.py says; one that was changed there would show here.
LINE_BYTES, FIELD_BYTES, FIELDS = 8190, 8190, 100
HOST, CLOSE = b"Host: here", b"Connection: close"
FILE = b'Content-Disposition: form-data; name="image"; filename="a"'


def encoded(width: int, height: int, suffix: str) -> bytes:
    return bytes(cv2.imencode(suffix, np.full((height, width, 3), 90, np.uint8))[1])


JPEG = encoded(8, 8, ".jpg")
PNG = encoded(8, 8, ".png")
PNG_TEXT = base64.b64encode(PNG).decode()


def webp(width: int, height: int) -> bytes:
    """A lossy WebP, which `encoded` does not make."""
    pixels = np.full((height, width, 3), 90, np.uint8)
    return bytes(cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, 90])[1])


WEBP = webp(8, 8)


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1".encode(), HOST, CLOSE, b"Content-Length: %d" % len(body)]
    return b"\r\n".join([*lines, *(header.encode() for header in headers), b"", body])


def detect(body: bytes) -> bytes:
    return post("/v1/detect", body)


def chunked(body: bytes) -> bytes:
    head = b"\r\n".join([b"POST /v1/detect HTTP/1.1", HOST, CLOSE, b"Transfer-Encoding: chunked", b"", b""])
    return head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def get(*headers: bytes, path: bytes = b"/livez") -> bytes:
    return b"\r\n".join([b"GET " + path + b" HTTP/1.1", HOST, CLOSE, *headers, b"", b""])


def padded_jpeg(size: int) -> bytes:
    return JPEG.ljust(size, b"\0")


def sides(pixels: int) -> tuple[int, int]:
    """Width and height of a picture of so many pixels that is as square as can be."""
    width = next(width for width in range(math.isqrt(pixels), 0, -1) if pixels % width == 0)
    return width, pixels // width


def raw_frame(width: int, height: int) -> bytes:
    image = base64.b64encode(bytes(3 * width * height)).decode()
    return json.dumps({"height": height, "width": width, "image": image}).encode()


def nested_frame(depth: int) -> bytes:
    return raw_frame(2, 2)[:-1] + b', "more": ' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


def scanned_jpeg(scans: int) -> bytes:
    """A JPEG with a scan for each of its colours, the first of them sent over and over."""
    colours = [(1, 1)] * 3
    grey, *others = [scan_head([number]) + interleaved(8, 8, [(1, 1)], [90]) for number in range(3)]
    return b"".join([SOI, tables(), frame(8, 8, colours), grey * (scans - 2), *others, EOI])


def segmented_jpeg(segments: int) -> bytes:
    own = len(re.findall(rb"\xff[\xc0\xc4\xd9-\xdb\xe0]", JPEG))
    return JPEG[:2] + b"\xff\xfe\0\2" * (segments - own) + JPEG[2:]


def chunky_webp(chunks: int) -> bytes:
    body = WEBP[:12] + b"EXIF\0\0\0\0" * (chunks - 1) + WEBP[12:]
    return body[:4] + (len(body) - 8).to_bytes(4, "little") + body[8:]


def chunky_png(chunks: int) -> bytes:
    comment = b"\0\0\0\0teXt" + zlib.crc32(b"teXt").to_bytes(4, "big")
    own = sum(PNG.count(kind) for kind in (b"IHDR", b"IDAT", b"IEND"))
    return PNG[:33] + comment * (chunks - own) + PNG[33:]


def form(*parts: bytes, boundary: bytes = b"xyz") -> bytes:
    return b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"


def file(head: bytes = FILE) -> bytes:
    return head + b"\r\n\r\n" + PNG


def field(size: int) -> bytes:
    return b'Content-Disposition: form-data; name="note"\r\n\r\n' + b"x" * size


def long_head(size: int) -> bytes:
    """A part's head of so many bytes, its last line end among them."""
    start = FILE + b"\r\nX-Camera: "
    return start + b"x" * (size - len(start) - len(b"\r\n\r\n"))


def oip(tensor: dict[str, object], **request: object) -> bytes:
    body = {"inputs": [{"name": "image", "datatype": "BYTES", **tensor}], **request}
    return post("/v2/models/detect/infer", json.dumps(body).encode())


def pictures(count: int, **request: object) -> bytes:
    return oip({"shape": [count], "data": [PNG_TEXT] * count}, **request)


def small_json(size: int) -> bytes:
    return pictures(1, parameters={"sequence_id": "x" * (size - len('{"sequence_id": ""}'))})


def unzipped(size: int) -> bytes:
    body = json.dumps({"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [PNG_TEXT]}]})
    zipped = gzip.compress(body.ljust(size).encode(), mtime=0)
    return post("/v2/models/detect/infer", zipped, "Content-Encoding: gzip")


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit.

    `most`: what is still taken; `make`: the request that has so much of it; `status`, `code`: of the refusal, `code`
    empty where the protocol has none; `words`: what the refusal says, `most` beside them; `fine`: status within it.
    """

    most: int
    make: Callable[[int], bytes]
    status: int
    code: str = ""
    words: str = ""
    fine: int = 200


LIMITS = {
    "first line": Limit(
        LINE_BYTES,
        lambda size: get(path=b"/livez?".ljust(size - len("GET  HTTP/1.1"), b"a")),
        414,
        "uri_too_long",
        "first line",
    ),
    "header bytes": Limit(
        FIELD_BYTES,
        lambda size: get(b"A: ".ljust(size - len("\r\n"), b"a")),
        431,
        "headers_too_large",
        "bytes",
    ),
    "headers": Limit(FIELDS, lambda count: get(*[b"A: a"] * (count - 2)), 431, "headers_too_large", "of them"),
    "bytes": Limit(200_000, lambda size: detect(padded_jpeg(size)), 413, "body_too_large", "bytes"),
    "bytes in chunks": Limit(200_000, lambda size: chunked(padded_jpeg(size)), 413, "body_too_large", "bytes"),
    "bytes once decompressed": Limit(200_000, unzipped, 413, "", "once decompressed"),
    "pixels of a PNG": Limit(6400, lambda n: detect(encoded(*sides(n), ".png")), 413, "image_too_large", "in all"),
    "pixels of a JPEG": Limit(6400, lambda n: detect(encoded(*sides(n), ".jpg")), 413, "image_too_large", "in all"),
    "pixels of a raw frame": Limit(6400, lambda n: detect(raw_frame(*sides(n))), 413, "image_too_large", "in all"),
    "width": Limit(200, lambda side: detect(encoded(side, 1, ".png")), 413, "image_too_large", "a side"),
    "height": Limit(200, lambda side: detect(encoded(1, side, ".jpg")), 413, "image_too_large", "a side"),
    "height of a raw frame": Limit(200, lambda side: detect(raw_frame(1, side)), 413, "image_too_large", "a side"),
    "scans of a JPEG": Limit(MAX_JPEG_SCANS, lambda n: detect(scanned_jpeg(n)), 413, "image_too_large", "scans"),
    "segments of a JPEG": Limit(
        MAX_JPEG_SEGMENTS, lambda n: detect(segmented_jpeg(n)), 413, "image_too_large", "segments"
    ),
    "chunks of a WebP": Limit(MAX_WEBP_CHUNKS, lambda n: detect(chunky_webp(n)), 413, "image_too_large", "chunks"),
    "pixels of a WebP": Limit(6400, lambda n: detect(webp(*sides(n))), 413, "image_too_large", "in all"),
    "pixels of a BMP": Limit(6400, lambda n: detect(encoded(*sides(n), ".bmp")), 413, "image_too_large", "in all"),
    "chunks of a PNG": Limit(MAX_PNG_CHUNKS, lambda n: detect(chunky_png(n)), 413, "image_too_large", "chunks"),
    "depth of a raw frame's JSON": Limit(
        MAX_JSON_DEPTH, lambda depth: detect(nested_frame(depth)), 400, "malformed_body", "levels"
    ),
    "files of a form": Limit(3, lambda count: detect(form(*[file()] * count)), 422, "invalid_value", "files"),
    "parts of a form": Limit(
        MAX_FORM_PARTS, lambda count: detect(form(file(), *[field(1)] * (count - 1))), 422, "invalid_value", "parts"
    ),
    "bytes of a form's field": Limit(
        MAX_FIELD_BYTES, lambda size: detect(form(file(), field(size))), 422, "invalid_value", "note"
    ),
    "bytes of a part's head": Limit(
        MAX_PART_HEAD_BYTES, lambda size: detect(form(file(long_head(size)))), 422, "invalid_value", "headers"
    ),
    "bytes of a boundary": Limit(
        MAX_BOUNDARY_BYTES,
        lambda size: detect(form(file(), boundary=b"x" * size)),
        400,
        "malformed_body",
        "boundary",
    ),
    "pictures of a tensor": Limit(3, pictures, 422, "", "pictures"),
    "dimensions of a tensor": Limit(
        MAX_RANK, lambda rank: oip({"shape": [1] * rank, "data": [PNG_TEXT]}), 400, "", "dimensions", fine=422
    ),
    "characters of an id": Limit(MAX_NAME, lambda size: pictures(1, id="x" * size), 400, "", "length"),
    "bytes of parameters": Limit(MAX_SMALL_JSON_BYTES, small_json, 400, "", "bytes of JSON"),
    "depth of an inference request's JSON": Limit(
        MAX_JSON_DEPTH,
        lambda depth: pictures(1, more=json.loads("[" * (depth - 1) + "]" * (depth - 1))),
        400,
        "",
        "levels",
    ),
}


@pytest.fixture(scope="module")
def instance(free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningInstance]:
    log = tmp_path_factory.mktemp("instance") / "log"
    with running_instance(free_port(), "simulated:a_ms=0,b_ms=0", log, **SETTINGS) as running:
        yield running


def send(instance: RunningInstance, request: bytes) -> tuple[int, str, dict[str, object]]:
    """The status, content type and JSON of the answer to bytes that are sent as they are."""
    with socket.create_connection(("127.0.0.1", int(instance.url.rpartition(":")[2])), 30) as connection:
        connection.sendall(request)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    line, _, headers = head.partition(b"\r\n")
    return int(line.split()[1]), BytesHeaderParser().parsebytes(headers)["Content-Type"], json.loads(body)


@pytest.mark.parametrize("name", LIMITS)
def test_what_is_within_a_limit_is_taken_and_what_is_over_is_told_it(instance: RunningInstance, name: str) -> None:
    limit = LIMITS[name]
    for amount in (limit.most - 1, limit.most):
        assert send(instance, limit.make(amount))[0] == limit.fine, amount
    status, kind, document = send(instance, limit.make(limit.most + 1))
    detail = str(document["detail"] if limit.code else document["error"])
    assert (status, document.get("code", "")) == (limit.status, limit.code)
    assert kind == ("application/problem+json" if limit.code else "application/json")
    assert limit.words in detail and str(limit.most) in detail


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("path", ["/v1/detect", "/v2/models/detect/infer"])
def test_json_is_refused_however_deep_it_is(instance: RunningInstance, path: str, closed: bool) -> None:
    deep = b"[" * 90_000 + b"]" * (90_000 if closed else 0)
    status, _, document = send(instance, post(path, b'{"inputs": ' + deep + b"}"))
    assert (status, f"{MAX_JSON_DEPTH} levels" in str(document)) == (400, True)


@pytest.mark.parametrize(
    "text", ["[" * 100, "]" * 100, '\\\\\\"[' * 100, "\\\\"], ids=["up", "down", "quoted", "escaped"]
)
def test_brackets_inside_of_texts_are_no_levels(instance: RunningInstance, text: str) -> None:
    shallow = raw_frame(2, 2)[:-1] + b', "more": ["' + text.encode() + b'"' + b", []" * 100 + b"]}"
    assert send(instance, detect(shallow))[0] == 200
    deep = shallow[:-2] + b"," + b"[" * MAX_JSON_DEPTH + b"]" * MAX_JSON_DEPTH + b"]}"
    assert send(instance, detect(deep))[0] == 400


def test_the_instance_has_come_to_no_harm(instance: RunningInstance) -> None:
    assert send(instance, detect(JPEG))[0] == 200
    assert "Traceback" not in instance.log.read_text()
