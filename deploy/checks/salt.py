"""Makes a picture's bytes unlike anybody else's, and leaves its pixels alone.

The service refuses pictures that instances die of, by their hash. Whoever knows the picture that deploys and smoke
tests ask about must not be able to have it refused.
"""

import secrets
import zlib

SALT_BYTES = 16
JPEG_MAGIC, JPEG_COMMENT = b"\xff\xd8", b"\xff\xfe"
PNG_MAGIC, PNG_HEADER_BYTES = b"\x89PNG\r\n\x1a\n", 33
PNG_CHUNK = b"saLt"  # ancillary, private, safe to copy
ENDS_BY_ITS_HEADER = (b"RIFF", b"BM")


def salted(picture: bytes, salt: bytes | None = None) -> bytes:
    """Adds bytes that decoders pass over.

    Args:
        picture: a JPEG, PNG, WebP or BMP file; anything else is given back as it is.
        salt: what to add; random where it is not given.
    """
    salt = secrets.token_bytes(SALT_BYTES) if salt is None else salt
    if picture.startswith(JPEG_MAGIC):
        return JPEG_MAGIC + JPEG_COMMENT + (len(salt) + 2).to_bytes(2, "big") + salt + picture[len(JPEG_MAGIC) :]
    if picture.startswith(PNG_MAGIC):
        chunk = PNG_CHUNK + salt
        framed = len(salt).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        return picture[:PNG_HEADER_BYTES] + framed + picture[PNG_HEADER_BYTES:]
    return picture + salt if picture.startswith(ENDS_BY_ITS_HEADER) else picture
