"""Decodes PNG files, of which the decoder sees what makes up their pixels, and nothing else.

Animations, colour profiles and texts play no part here, but they are most of what a decoder can trip over: OpenCV 4.14
crashes on some damaged animations. The chunks that hold them are left out before it sees the file.
"""

from service.errors import ImageTooLarge, MalformedBody, UnsupportedBody
from service.pictures.image import Frame, ImageLimits, decode_with_opencv

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
MAX_PNG_CHUNKS = 16_384  # common encoders put 8 kB and more into each
PNG_HEADER_BYTES = 33  # magic, then the IHDR chunk
BYTES_A_PIXEL = 6  # held while OpenCV decodes, whatever the depth, interlaced or not (measured)
_LENGTH_BYTES = 4
_FRAME_BYTES = 12  # length, type and checksum, around a chunk's data
_ANCILLARY = 0x20  # a small first letter: the picture can be shown without


def decode_png(body: bytes, limits: ImageLimits) -> Frame:
    """Decodes a PNG file; grey, palette and 16-bit ones become 8-bit BGR, transparency is ignored.

    Of an animation the picture that others show without it is taken.

    Raises:
        MalformedBody: truncated or damaged.
        ImageTooLarge: over the limits.
        UnsupportedBody: of Apple's own kind.
    """
    if body[12:16] == b"CgBI":
        raise UnsupportedBody(
            "body: a PNG of Apple's own kind (CgBI), which only its devices read; send the one it was made from, or a "
            "JPEG"
        )
    if len(body) < PNG_HEADER_BYTES or body[12:16] != b"IHDR":
        raise MalformedBody("image: the PNG ends before its header does; send a whole PNG file")
    width, height = int.from_bytes(body[16:20], "big"), int.from_bytes(body[20:24], "big")
    limits.check(width, height)
    limits.claim(width * height, BYTES_A_PIXEL * width * height + 2 * len(body))
    # OpenCV gives a partly black picture for a cut file, without any error; for one cut here there is ours.
    return Frame(decode_with_opencv(plain_png(body), "PNG"), width, height)


def plain_png(body: bytes) -> bytes:
    """A PNG file with its critical chunks alone.

    Args:
        body: a file that starts with `PNG_MAGIC`; checksums and data are left to the decoder.

    Raises:
        MalformedBody: it ends before its last chunk does.
        ImageTooLarge: it has more chunks than are read.
    """
    view, at = memoryview(body), len(PNG_MAGIC)
    kept: list[memoryview] = [view[:at]]
    for _ in range(MAX_PNG_CHUNKS):
        kind = body[at + _LENGTH_BYTES : at + 2 * _LENGTH_BYTES]
        end = at + _FRAME_BYTES + int.from_bytes(body[at : at + _LENGTH_BYTES], "big")
        if end > len(body):
            raise MalformedBody("image: the PNG ends before its IEND chunk; send a whole PNG file")
        if not kind[0] & _ANCILLARY:
            kept.append(view[at:end])
        if kind == b"IEND":
            return b"".join(kept)
        at = end
    raise ImageTooLarge(f"image: the PNG has over {MAX_PNG_CHUNKS} chunks; save it anew")
