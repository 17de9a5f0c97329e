"""Bodies within every limit that are cheap to send and dear to answer; nothing is sent here."""

import base64
import gzip
import json
import struct
import zlib
from collections.abc import Sequence

import cv2
import numpy as np

# 40 megapixels, the limit on pixels; of one colour they take some 100 kB.
WIDTH, HEIGHT = 8000, 5000
CHANNELS = 3
# The colour type of a PNG with three channels.
PNG_RGB = 2
FILES = 16
FULL_HD = (1080, 1920)
# Just under the limit on a body, once it is unpacked.
UNPACKED_BYTES = 60 * 2**20
BOUNDARY = "bomb"


def png(bits: int) -> bytes:
    """A PNG of 40 megapixels in one colour.

    Args:
        bits: 8 or 16 a channel; decoded it takes 120 or 240 MB.
    """
    packer = zlib.compressobj(9)
    row = bytes(1 + WIDTH * CHANNELS * bits // 8)
    packed = b"".join(packer.compress(row) for _ in range(HEIGHT)) + packer.flush()
    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, PNG_RGB, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def progressive_jpeg() -> bytes:
    """A JPEG of 40 megapixels in ten scans, all of which are held until the last is read."""
    flat = np.full((HEIGHT, WIDTH, CHANNELS), 127, np.uint8)
    return cv2.imencode(".jpg", flat, (cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_OPTIMIZE, 1))[1].tobytes()


def form(pictures: Sequence[bytes]) -> bytes:
    """A form of as many files as are taken, the pictures in turn; its boundary is `BOUNDARY`."""
    parts = [
        b'--%b\r\nContent-Disposition: form-data; name="file%d"; filename="%d"\r\n\r\n%b\r\n'
        % (BOUNDARY.encode(), number, number, pictures[number % len(pictures)])
        for number in range(FILES)
    ]
    return b"".join(parts) + b"--%b--\r\n" % BOUNDARY.encode()


def raw_frame() -> bytes:
    """A frame of 1080p as the first protocol's JSON, 8 MB."""
    height, width = FULL_HD
    image = base64.b64encode(bytes(height * width * CHANNELS)).decode()
    return json.dumps({"height": height, "width": width, "image": image}).encode()


def packed_outputs() -> bytes:
    """A request of the Open Inference Protocol that asks for an output millions of times, packed by gzip."""
    head = b'{"inputs":[{"name":"image","shape":[1],"datatype":"BYTES","data":["x"]}],"outputs":['
    output = b'{"name":"count"},'
    return gzip.compress(head + output * (UNPACKED_BYTES // len(output)) + output[:-1] + b"]}")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
