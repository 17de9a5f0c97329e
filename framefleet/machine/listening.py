"""Tries an address to listen on, and tells apart why it cannot be had."""

import errno
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FIRST_FREE = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
USUAL_FIRST_FREE = 1024

Reason = Literal["taken", "foreign", "forbidden", "unknown", "impossible"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nobody can listen there now.

    Attributes:
        reason: `taken` another program does, `foreign` no address of this machine, `forbidden` not for this user,
            `unknown` a name that leads nowhere, `impossible` all else.
        what: in words.
        fix: what to do about it.
    """

    reason: Reason
    what: str
    fix: str


def resolve(host: str, port: int) -> str:
    """The address of a name, IPv4 where it has both; an address as it is.

    Raises:
        OSError: there is none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [(family, str(address[0])) for family, _, _, _, address in found]
    return next((address for family, address in addresses if family == socket.AF_INET), addresses[0][1])


def try_to_listen(host: str, port: int) -> Refusal | None:
    """Listens on an address for a moment; returns why that cannot be done.

    Args:
        host: IPv4 or IPv6 address without brackets, or a name.
        port: TCP.
    """
    try:
        address = resolve(host, port)
    except (socket.gaierror, UnicodeError) as error:
        what = f"this machine finds no address for {host!r} ({getattr(error, 'strerror', None) or error})"
        return Refusal("unknown", what, "correct the name, or write an address such as 127.0.0.1")
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as trial:
            # As nginx and gunicorn do: connections of an earlier server that linger are no reason to fail.
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((address, port))
            trial.listen(1)
    except OSError as error:
        return _refusal(error, host, port)
    return None


def _refusal(error: OSError, host: str, port: int) -> Refusal:
    match error.errno:
        case errno.EADDRINUSE:
            return Refusal("taken", "already taken", "free it or choose another port")
        case errno.EADDRNOTAVAIL:
            what = f"{host} is no address of this machine"
            return Refusal("foreign", what, "choose one that `ip address` lists, or 127.0.0.1")
        case errno.EACCES | errno.EPERM if port < (first := _first_free()):
            fix = f"choose a port from {first} on, or `sudo sysctl net.ipv4.ip_unprivileged_port_start={port}`"
            return Refusal("forbidden", f"only root may listen on port {port}", fix)
        case errno.EACCES | errno.EPERM:
            what = f"this user may not listen on port {port}"
            return Refusal("forbidden", what, "see what SELinux or AppArmor allow, or choose another port")
        case errno.EAFNOSUPPORT:
            return Refusal("foreign", f"this machine has no addresses of the kind of {host}", "choose 127.0.0.1")
    return Refusal("impossible", error.strerror or str(error), "choose another address or port")


def _first_free() -> int:
    try:
        return int(FIRST_FREE.read_text())
    except (OSError, ValueError):
        return USUAL_FIRST_FREE
