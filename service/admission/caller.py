"""Who asks: the name by which an instance shares itself out among its clients."""

import ipaddress
from collections.abc import Callable
from functools import lru_cache

from flask import g, request

from service.server.allow import parse_allow
from service.settings import Settings

# A site has that many bits of an IPv6 address of its own, and as many addresses in it as it likes.
SITE_BITS = 64


def caller_of(settings: Settings) -> Callable[[], str]:
    """Makes what names the client of the request being answered.

    With keys it is the key; else an address: the one that nginx gives, if the request is nginx's, from this machine or
    from where `settings.allow` lets it connect. Others may not name themselves.
    """
    allowed = parse_allow(settings.allow)

    def caller() -> str:
        if key := g.get("key", ""):
            return f"key {key}"
        peer = request.remote_addr or ""
        return named(peer, request.headers.get("X-Real-IP", ""), allowed)

    return caller


@lru_cache(1024)
def named(peer: str, given: str, allowed: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]) -> str:
    """The client's address, of an IPv6 one its site.

    Args:
        peer: whose connection it is.
        given: the header `X-Real-IP`, empty without one.
        allowed: networks that may name others, beside this machine.
    """
    try:
        own = _plain(ipaddress.ip_address(peer))
        if given and (own.is_loopback or any(own in network for network in allowed)):
            own = _plain(ipaddress.ip_address(given))
    except ValueError:
        return peer
    return str(own) if own.version == 4 else str(ipaddress.ip_network((own, SITE_BITS), strict=False))  # noqa: PLR2004


def _plain(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return getattr(address, "ipv4_mapped", None) or address
