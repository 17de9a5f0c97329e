"""The bodies that a detection takes, with the instance's limits."""

import base64
from typing import Any

from service.openapi.shapes import record, ref, said
from service.pictures.raw_frame import CHANNELS
from service.protocols.native.routes import max_files
from service.settings import Settings

Json = dict[str, Any]

PICTURE_TYPES = "image/jpeg, image/png, image/webp, image/bmp"
FORM_FIELD = "image"  # any name is taken; this is what the examples call it
EXAMPLE_SIDES = (2, 4)  # height and width of the example frame


def raw_frame(settings: Settings) -> Json:
    """The first server's body."""
    side = {"type": "integer", "minimum": 1, "maximum": settings.max_side}
    image = {"type": "string", "format": "byte", "description": f"Base64 of height x width x {CHANNELS} bytes (BGR)."}
    return {
        **record(
            "A frame's raw bytes, as the first server took them: uint8, BGR, row by row.",
            {"height": said(side, "Rows of pixels."), "width": said(side, "Pixels in a row."), "image": image},
        ),
        "example": example_frame(),
    }


def one_picture(settings: Settings) -> Json:
    """A body with one picture in it."""
    return _body(settings, 1, "One picture.")


def several_pictures(settings: Settings) -> Json:
    """A body with one picture in it, or a form with several."""
    most = max_files(settings)
    return _body(settings, most, f"One picture, or a form with up to {most} of them.")


def example_frame() -> Json:
    """A frame that is small enough to be read, and real enough to be answered."""
    height, width = EXAMPLE_SIDES
    pixels = bytes(range(0, 10 * height * width * CHANNELS, 10))
    return {"height": height, "width": width, "image": base64.b64encode(pixels).decode()}


def _body(settings: Settings, most: int, what: str) -> Json:
    picture = {"type": "string", "format": "binary", "maxLength": settings.max_body_bytes}
    file = {"type": "string", "format": "binary"}
    files = {"type": "array", "description": "Pictures, as files.", "minItems": 1, "maxItems": most, "items": file}
    form = record("A form with pictures as files, whatever its fields are called.", {FORM_FIELD: files})
    return {
        "description": (
            f"{what} It is recognised by its first bytes: JPEG, PNG or BMP of any colour type, or lossy WebP "
            "(transparency and an EXIF orientation are ignored), or JSON with raw pixels. At most "
            f"{settings.max_body_bytes:,} bytes in all, {settings.max_pixels:,} pixels a picture and "
            f"{settings.max_side:,} pixels along a side."
        ),
        "required": True,
        "content": {
            "image/jpeg": {"schema": said(picture, "A JPEG file.")},
            "image/png": {"schema": said(picture, "A PNG file.")},
            "image/webp": {"schema": said(picture, "A lossy WebP file; of an animation the first picture.")},
            "image/bmp": {"schema": said(picture, "A BMP file without compression.")},
            "multipart/form-data": {
                "schema": form,
                "encoding": {FORM_FIELD: {"contentType": PICTURE_TYPES}},
            },
            "application/json": {"schema": ref("RawFrame"), "example": example_frame()},
            "application/octet-stream": {"schema": said(picture, "Any of these kinds, without saying which.")},
        },
    }
