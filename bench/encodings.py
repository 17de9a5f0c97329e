"""The ways to send a frame that are compared: by `bench.link` in time, by `bench.encoding_boxes` in what they find."""

from collections.abc import Callable
from dataclasses import replace

import cv2

from framefleet.client.sender import Wire, jpeg_wire, raw_wire
from framefleet.draw import Pixels

FIRST_PROTOCOL = "first protocol"
DEFAULT = "JPEG 90"
INPUT_SIDE = 320  # of the default model


def encodings() -> dict[str, Wire]:
    """Each way by its name; the first is the first server's, `DEFAULT` what the client does."""
    jpegs = {f"JPEG {quality}": jpeg_wire(quality, None) for quality in (80, 85, 90, 95)}
    ways = {FIRST_PROTOCOL: raw_wire([]), **jpegs, "PNG": replace(jpegs[DEFAULT], encode=_png)}
    for longest in (4 * INPUT_SIDE, 2 * INPUT_SIDE, INPUT_SIDE):
        ways[f"{DEFAULT}, at most {longest} px"] = replace(jpegs[DEFAULT], encode=_scaled(jpegs[DEFAULT], longest))
    return ways


def _png(pixels: Pixels) -> bytes:
    return cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def _scaled(wire: Wire, longest: int) -> Callable[[Pixels], bytes]:
    def encode(pixels: Pixels) -> bytes:
        height, width = pixels.shape[:2]
        scale = longest / max(width, height)
        if scale >= 1:
            return wire.encode(pixels)
        sides = (round(width * scale), round(height * scale))
        return wire.encode(cv2.resize(pixels, sides, interpolation=cv2.INTER_LINEAR))  # type: ignore[arg-type]

    return encode
