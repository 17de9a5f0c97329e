"""Whether the client of a request has hung up, so that nothing is inferred for nobody."""

import socket
from collections.abc import Callable
from typing import Any

_ESTABLISHED = b"\x01"  # TCP_ESTABLISHED, the state that `struct tcp_info` begins with


def never_gone() -> bool:
    """Says of every client that it is still there."""
    return False


def client_gone(environ: dict[str, Any]) -> Callable[[], bool]:
    """Makes the question for one request.

    Args:
        environ: the WSGI environment; gunicorn puts the connection's socket there. Without it nobody is ever gone.

    Returns:
        A function that looks whether the connection's other end is closed. It reads nothing: bytes of a next request
        mean that the client is there. nginx closes its connection to us when its client has gone.
    """
    connection = environ.get("gunicorn.socket")
    if not isinstance(connection, socket.socket):
        return never_gone

    def gone() -> bool:
        if _is_open(connection):
            return False
        try:
            return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    return gone


def _is_open(connection: socket.socket) -> bool:
    """Whether neither end of a TCP connection has closed it; False where that can't be told.

    Unlike a look at what was received this keeps the GIL: the batcher asks for each frame, and every time it would let
    go of it a request thread would take it for a while.
    """
    try:
        return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == _ESTABLISHED
    except OSError:
        return False
