"""Reads the address that an instance listens on: an address or a name, and nothing else that an address may have."""

import re

from framefleet.http.address import is_ip_address

MAX_CHARACTERS = 253
LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
# What the system would take for a number, and so for an address: 127.1, 8101, 0x7f.1.
NUMBER = re.compile(r"\d+|0[xX][0-9A-Fa-f]*")
EXPECTED = "write an address such as 127.0.0.1 or ::1, or a host's name"


def parse_host(text: str) -> str:
    """Checks it; an IPv6 address in brackets loses them.

    Raises:
        ValueError: says what is too much.
    """
    if text != text.strip() or len(text.split()) != 1:
        raise ValueError(f"{text!r} has blanks in it; {EXPECTED}")
    if "//" in text:
        raise ValueError(f"{text!r} is a URL; {EXPECTED}")
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else ""
    for candidate in (inner, text):
        if ":" in candidate and "%" not in candidate and is_ip_address(candidate):
            return candidate
    if _has_port(text):
        raise ValueError(f"{text!r} ends in a port, which FRAMEFLEET_PORT alone sets; write the address without it")
    if text == "*":
        raise ValueError("'*' is no address; write 0.0.0.0 for every IPv4 address of this machine, :: for all")
    if "%" not in text and is_ip_address(text):
        return text
    if "%" in text:
        raise ValueError(f"{text!r} has a zone, with which no instance can listen; {EXPECTED}")
    labels = text.removesuffix(".").split(".")
    named = len(text) <= MAX_CHARACTERS and all(map(LABEL.fullmatch, labels)) and not NUMBER.fullmatch(labels[-1])
    if not named:
        raise ValueError(f"{text!r} is no address and no name; {EXPECTED}")
    return text


def in_address(host: str, port: int) -> str:
    """Writes both as one, as URLs and gunicorn's `bind` have it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _has_port(text: str) -> bool:
    before, colon, port = text.rpartition(":")
    return bool(before and colon) and port.isdecimal() and (":" not in before or before.endswith("]"))
