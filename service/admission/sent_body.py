"""A body of known length that lies on gunicorn's socket: received where it is to stay, without copies in between.

gunicorn's own reader, and Werkzeug's around it, copy it several times. What they do differently, such as with chunks,
encryption, or in another version, they go on doing: then there is no such body.
"""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from werkzeug.exceptions import ClientDisconnected

Received = TypeVar("Received")


@dataclass(frozen=True, slots=True)
class SentBody:
    """A body nothing of which was read: gunicorn's `reader` of so many bytes, and the `connection` they come on."""

    reader: Any
    connection: socket.socket

    def receive(self) -> bytes:
        """The body, or what of it was sent before the client closed the connection.

        Raises:
            ClientDisconnected: the connection broke.
        """
        pieces = [self._buffered()]
        while self.reader.length and (piece := self._received(self.connection.recv, self.reader.length)):
            pieces.append(piece)
            self.reader.length -= len(piece)
        return b"".join(pieces)

    def receive_into(self, memory: memoryview) -> memoryview:
        """The same, in memory as large as the body."""
        buffered = self._buffered()
        at = len(buffered)
        memory[:at] = buffered
        while self.reader.length and (count := self._received(self.connection.recv_into, memory[at:], 0)):
            at += count
            self.reader.length -= count
        return memory[:at]

    def _buffered(self) -> bytes:
        """What was read along with the request's head; a next request's bytes are left where they were."""
        data: bytes = self.reader.unreader.take_buffered()
        mine = data[: self.reader.length]
        self.reader.unreader.unread(data[len(mine) :])
        self.reader.length -= len(mine)
        return mine

    @staticmethod
    def _received(receive: Callable[..., Received], *arguments: object) -> Received:
        """All of it at once if nothing happens: each call costs the GIL."""
        try:
            return receive(*arguments, socket.MSG_WAITALL)
        except OSError as error:
            raise ClientDisconnected from error


def sent_body(environ: dict[str, Any]) -> SentBody | None:
    """The body of a request, if it is one that can be received here."""
    stream = environ["wsgi.input"]
    reader = getattr(stream, "reader", None)
    unreader = getattr(reader, "unreader", None)
    connection = getattr(unreader, "sock", None)
    known = hasattr(reader, "length") and hasattr(unreader, "take_buffered") and hasattr(unreader, "unread")
    if not known or type(connection) is not socket.socket or stream.buf.tell():
        return None
    return SentBody(reader, connection)
