"""Reads the address of a service as people give it to a command: no name, key or password has a place in it."""

import ipaddress
from urllib.parse import unquote, urlsplit

KEY_VARIABLE = "FLEET_API_KEY"


class AddressError(ValueError):
    """The text is no service's address; the message never repeats a secret that stands in it."""


def service_address(text: str) -> str:
    """A service's address, without a slash at its end.

    Args:
        text: `http://HOST:PORT` or `https://HOST:PORT`, with a path in front of the API's routes if there is one.

    Raises:
        AddressError: it is no such address, or holds a user name, a query or a fragment. What stands in an address ends
            up in process lists, run files and reports.
    """
    # Looked for in the text: a slash or "?" in a password ends the host for urlsplit, and not for its owner.
    if "@" in unquote(text):
        raise AddressError(f"no place for a key or password, everybody here can read it; set {KEY_VARIABLE}")
    try:
        parts = urlsplit(text.strip())
        host, _ = parts.hostname, parts.port
    except ValueError as error:  # its words are about the host or the port alone
        raise AddressError(f"no address ({error}); expected http://HOST:PORT or https://HOST:PORT") from None
    if parts.query or parts.fragment or ";" in parts.path:
        raise AddressError("ends in a query, parameter or fragment; expected http://HOST:PORT or https://HOST:PORT")
    if parts.scheme not in ("http", "https") or not host:
        raise AddressError(f"{text} is no address; expected http://HOST:PORT or https://HOST:PORT")
    return text.strip().rstrip("/")


def is_ip_address(text: str) -> bool:
    """Whether a host is an IPv4 or IPv6 address, and no name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
