"""Whether the client of a request has hung up, so that nothing is inferred for nobody."""

import ctypes
import select
import socket
from collections.abc import Callable
from typing import Any

from service.batch_queue import never_gone

# Called without giving up the GIL, which other threads would keep for far longer than this takes.
_poll = ctypes.PyDLL(None).poll
_PollFd = ctypes.c_int * 2  # the descriptor; what is asked for, and behind it what is there, in half an int each
_LOOK = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)


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

    asked = _PollFd(connection.fileno(), select.POLLIN)

    def gone() -> bool:
        if _poll(asked, 1, 0) == 0:  # as almost always: there is nothing to read, not even an end
            return False
        try:
            return connection.recv(1, _LOOK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    return gone
