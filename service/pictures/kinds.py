"""Knows the files that clients send by mistake, so that an error can name them and say what to send instead."""

import re
from dataclasses import dataclass

from service.errors import UnsupportedBody

HEAD_BYTES = 1024
TAKEN = "JPEG, PNG, WebP or BMP"
PICTURE = f"send it as {TAKEN}"
VIDEO = "send its frames one by one, as JPEG"
PACKED = "send the picture itself, as it is"
TEXT = f"send the picture itself: {TAKEN}"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file: what its first bytes look like, its `name` with an article, and what to send `instead` of it."""

    head: re.Pattern[bytes]
    name: str
    instead: str = PICTURE


def _kind(head: bytes, name: str, instead: str = PICTURE) -> Kind:
    return Kind(re.compile(head, re.DOTALL), name, instead)


_BOX = rb"....ftyp"
_LATER_BRANDS = rb".{0,64}?"
# The first that fits: what is more special comes first.
KINDS = (
    _kind(rb"GIF8[79]a", "a GIF"),
    _kind(_BOX + rb"(?:avif|avis|(?:mif1|msf1)" + _LATER_BRANDS + rb"avi[fs])", "an AVIF"),
    _kind(_BOX + rb"(?:hei|hev|mif1|msf1)", "a HEIC (HEIF)"),
    _kind(_BOX + rb"crx ", "a camera's raw file (CR3)"),
    _kind(_BOX + rb"jp[2xm] |\0\0\0\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000"),
    _kind(_BOX + rb"|....(?:moov|mdat|wide|free|skip|moof)", "an MP4 or QuickTime video", VIDEO),
    _kind(rb"\0\0\0\x0cJXL |\xff\x0a", "a JPEG XL"),
    _kind(rb"II\xbc", "a JPEG XR"),
    _kind(rb"II\*\0....CR|IIR[OS]|MMOR|IIU\0|FUJIFILMCCD-RAW|FOVb|\0MRM", "a camera's raw file"),
    _kind(rb"II[*+]\0|MM\0[*+]", "a TIFF (or a camera's raw file: DNG, NEF, ARW)"),
    _kind(rb"\0\0[\x02\x03\x0a\x0b]\0{5}", "a Targa (TGA)"),
    _kind(rb"\0\0[\x01\x02]\0", "a Windows icon or cursor (ICO, CUR)"),
    _kind(rb"8BPS", "a Photoshop file (PSD)"),
    _kind(rb"%PDF", "a PDF"),
    _kind(rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript file (EPS)"),
    _kind(rb"(?i:<!doctype html|<html|<head|<body)", "an HTML page, such as a camera's log-in or error page", TEXT),
    _kind(rb"(?=.{0,1000}<svg\b)<(?:\?xml|!|svg)", "an SVG"),
    _kind(rb"<\?xml", "XML", TEXT),
    _kind(rb"\x76\x2f\x31\x01", "an OpenEXR"),
    _kind(rb"#\?RADIANCE|#\?RGBE", "a Radiance HDR"),
    _kind(rb"P[1-7fF]\s", "a PNM (PPM, PGM, PBM)"),
    _kind(rb"\x59\xa6\x6a\x95", "a Sun raster file"),
    _kind(rb"qoif", "a QOI"),
    _kind(rb"/\* XPM \*/|#define \w+_width", "an X bitmap or pixmap (XBM, XPM)"),
    _kind(rb"\x01\xda[\0\1][\1\2]", "an SGI picture"),
    _kind(rb"SDPX|XPDS", "a DPX"),
    _kind(rb"DDS ", "a DirectDraw surface (DDS)"),
    _kind(rb"BPG\xfb", "a BPG"),
    _kind(rb"\x8aMNG|\x8bJNG", "an MNG or JNG"),
    _kind(rb"gimp xcf", "a GIMP file (XCF)"),
    _kind(rb".{128}DICM", "a DICOM file"),
    _kind(rb"SIMPLE  =", "a FITS file"),
    _kind(rb"\x93NUMPY", "a NumPy array"),
    _kind(rb"RIFF....AVI ", "an AVI video", VIDEO),
    _kind(rb"\x1a\x45\xdf\xa3", "a Matroska or WebM video", VIDEO),
    _kind(rb"\0\0\x01[\xba\xb3]|\x47.{187}\x47", "an MPEG video", VIDEO),
    _kind(rb"\0\0\0?\x01[\x06\x09\x21-\x2f\x40\x41-\x4f\x61-\x6f]", "an H.264 or H.265 stream", VIDEO),
    _kind(rb"FLV\x01", "a Flash video", VIDEO),
    _kind(rb"\x30\x26\xb2\x75", "a Windows Media video", VIDEO),
    _kind(rb"OggS", "an Ogg file", VIDEO),
    _kind(rb"\x1f\x8b", "gzip-compressed data", PACKED),
    _kind(rb"PK[\x03\x05]", "a ZIP archive", PACKED),
    _kind(rb"BZh[1-9]", "bzip2-compressed data", PACKED),
    _kind(rb"\xfd7zXZ\0", "xz-compressed data", PACKED),
    _kind(rb"\x28\xb5\x2f\xfd", "Zstandard-compressed data", PACKED),
    _kind(rb"7z\xbc\xaf|Rar!|.{257}ustar", "an archive (7z, RAR, tar)", PACKED),
    _kind(rb"data:", "a data: address", TEXT),
    _kind(rb"/9j/|iVBORw0KGgo|UklGR|Qk[0-3]", "a picture in base64", "send its bytes themselves"),
)


def named(data: bytes) -> UnsupportedBody | None:
    """The error of a file of a kind that is known, but not taken."""
    head = data[:HEAD_BYTES]
    kind = next((kind for kind in KINDS if kind.head.match(head)), None)
    return UnsupportedBody(f"body: {kind.name}, which is not taken; {kind.instead}") if kind else None


def refusal(data: bytes) -> UnsupportedBody:
    """The error of a file that is not taken, under the name of its kind if that has one."""
    return named(data) or UnsupportedBody(
        f"body: starts with {data[:8]!r}, which is neither JPEG, PNG, WebP, BMP nor JSON; send one of those"
    )
