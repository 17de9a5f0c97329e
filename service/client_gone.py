"""Whether the client of a request has hung up, so that nothing is inferred for nobody."""

import socket
from collections.abc import Callable
from typing import Any

from service.batch_queue import never_gone


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
        try:
            return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    return gone
