"""Reads files that people write: with the mark that some editors put in front, and with a word for other encodings."""

from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from pathlib import Path

MAX_BYTES = 64 << 20


class NotText(ValueError):
    """The file is no UTF-8 text; the message says what it seems to be, `fix` what to do."""

    def __init__(self, what: str, fix: str = "save it as UTF-8") -> None:
        super().__init__(what)
        self.fix = fix


def read_text(file: Path) -> str:
    r"""The text of a file, without a byte order mark, its lines ending in `\n` whatever they ended in.

    Raises:
        NotText: it is no UTF-8, or has no end.
        OSError: it cannot be read.
    """
    with file.open("rb") as opened:
        data = opened.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:  # /dev/zero has no end
        raise NotText(f"has over {MAX_BYTES >> 20} MiB, as no text has that people write", "name another file")
    return decode(data)


def decode(data: bytes) -> str:
    """The same for what has been read already.

    Raises:
        NotText: it is no UTF-8.
    """
    # Also without its mark: every second byte of plain words is nothing in it. UTF-32 begins and looks alike.
    if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) or b"\0" in data[:4]:
        raise NotText("is UTF-16, as some editors write it")
    data = data.removeprefix(BOM_UTF8)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise NotText(f"line {line} is not UTF-8, but perhaps Latin-1 (byte 0x{data[error.start]:02x})") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
