"""How a frame travels in a request: JPEG of the frame set -> body.

A new payload is one more class, named in `PAYLOADS`.
"""

from collections.abc import Callable
from typing import ClassVar, Protocol

import cv2
import msgspec
import numpy as np
import pybase64
from numpy.typing import NDArray

from loadtest.errors import VideoError
from loadtest.frames.frames import decode


class Payload(Protocol):
    """A kind of request body.

    Attributes:
        name: for `--payload`.
        route: path it is sent to unless `--route` says another.
        content_type: header it goes with; empty sends none.
    """

    name: ClassVar[str]
    route: ClassVar[str]
    content_type: ClassVar[str]

    def body(self, jpeg: bytes) -> bytes:
        """The request body for one frame; it is made before the load and sent as it is."""
        ...


class Jpeg:
    """The frame as the camera would send it."""

    name: ClassVar[str] = "jpeg"
    route: ClassVar[str] = "/v1/detect"
    content_type: ClassVar[str] = "image/jpeg"

    def body(self, jpeg: bytes) -> bytes:
        """See `Payload.body`."""
        return jpeg


class Png:
    """The same pixels without loss."""

    name: ClassVar[str] = "png"
    route: ClassVar[str] = "/v1/detect"
    content_type: ClassVar[str] = "image/png"

    def body(self, jpeg: bytes) -> bytes:
        """See `Payload.body`."""
        done, buffer = cv2.imencode(".png", decode(jpeg))
        if not done:
            raise VideoError("a frame does not encode as PNG; use --payload=jpeg")
        return buffer.tobytes()


class Multipart:
    """The JPEG as the only file of a form, as browsers and `curl -F` send it."""

    BOUNDARY: ClassVar[str] = "framefleet-d41d8cd98f00b204"
    name: ClassVar[str] = "multipart"
    route: ClassVar[str] = "/v1/detect"
    content_type: ClassVar[str] = f"multipart/form-data; boundary={BOUNDARY}"

    def body(self, jpeg: bytes) -> bytes:
        """See `Payload.body`."""
        head = (
            f"--{self.BOUNDARY}\r\n"
            'Content-Disposition: form-data; name="image"; filename="frame.jpg"\r\n'
            "Content-Type: image/jpeg\r\n\r\n"
        )
        return head.encode("ascii") + jpeg + f"\r\n--{self.BOUNDARY}--\r\n".encode("ascii")


class Base64:
    """The first server's protocol: JSON with the base64 of the raw BGR bytes, without a Content-Type."""

    name: ClassVar[str] = "base64"
    route: ClassVar[str] = "/predict"
    content_type: ClassVar[str] = ""

    def body(self, jpeg: bytes) -> bytes:
        """See `Payload.body`."""
        picture: NDArray[np.uint8] = decode(jpeg)
        height, width = picture.shape[:2]
        image = pybase64.b64encode(picture.tobytes()).decode("ascii")
        return msgspec.json.encode({"height": height, "width": width, "image": image})


PAYLOADS: dict[str, Callable[[], Payload]] = {kind.name: kind for kind in (Jpeg, Png, Multipart, Base64)}


def payload(name: str) -> Payload:
    """The payload of that name, which must be one of `PAYLOADS`."""
    return PAYLOADS[name]()
