"""What every protocol's routes do the same way: take a request in, read its body and deadline, and write JSON.

`caller_of`, `named`: who asks: the name by which an instance shares itself out among its clients.

`SentBody`, `sent_body`: a body of known length that lies on gunicorn's socket: received where it is to stay, without
copies in between.

gunicorn's own reader, and Werkzeug's around it, copy it several times. What they do differently, such as with chunks,
encryption, or in another version, they go on doing: then there is no such body.
"""

import io
import ipaddress
import socket
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
from flask import Response, g, request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from service.admission.buffers import LEAST_BYTES
from service.admission.client_gone import client_gone
from service.admission.visit import Visit
from service.errors import ServiceError
from service.pictures.body import without_blanks
from service.pictures.form import Form, is_one_file, read_form
from service.pipeline.detector import Detector
from service.protocols.native.query import read_timeout_ms
from service.server.allow import parse_allow
from service.settings import Settings

Received = TypeVar("Received")
PIECE_BYTES = 2**18
# A form is copied while it is taken apart; what is shorter than this is not worth waiting for memory.
SHORT_BYTES = 2**17
FORM_COPIES = 2
Reception = Callable[[], AbstractContextManager[Visit]]
"""Takes the request being answered in; see `reception`."""
# A site has that many bits of an IPv6 address of its own, and as many addresses in it as it likes.
SITE_BITS = 64


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


def reception(detector: Detector, settings: Settings) -> Reception:
    """Makes what takes requests in, each for as long as it is answered.

    Who is refused before the body was read has it read and thrown away: closing the connection on it would take the
    answer along, and nginx would ask another instance.
    """
    caller = caller_of(settings)

    @contextmanager
    def take_in() -> Iterator[Visit]:
        timeout_ms = read_timeout_ms(request.headers.get("X-Timeout-Ms"), settings.deadline_ms)
        try:
            with detector.visiting(caller(), timeout_ms, client_gone(request.environ)) as visit:
                yield visit
        except ServiceError:
            with suppress(RequestEntityTooLarge):  # which it is not by this: all of it may have been read before
                deque(_pieces(), maxlen=0)
            raise

    return take_in


def read_body(
    visit: Visit, inflate: Callable[[bytes], Iterator[bytes]] | None = None, *, blanks: bool = True
) -> bytes | memoryview:
    """The body as it came; never through the form parser: curl and urllib claim form types for plain files.

    Args:
        visit: waits for the memory.
        inflate: undoes the compression of one piece after the other; b"" says that there are no more.
        blanks: False drops those that it begins with, here where that takes no copy.

    Returns:
        Of a large one a view of memory that others get once there is no view of it any more.

    Raises:
        RequestEntityTooLarge: it has more bytes than the instance takes.
        DeadlineExceeded: there was no memory for it in time, or the client has gone.
    """
    most = request.max_content_length or 0
    announced = request.content_length
    if announced is not None and announced > most:
        raise RequestEntityTooLarge
    # One that is compressed, or sent in chunks, does not say how long it is.
    visit.body.claim(most if announced is None or inflate else announced)
    sent = sent_body(request.environ) if announced and not inflate else None
    if sent and announced:
        long = announced >= LEAST_BYTES
        whole = sent.receive_into(visit.pools.buffers.lend(announced)) if long else sent.receive()
        whole = whole if blanks else without_blanks(whole)
    else:
        whole = _gathered(inflate, blanks=blanks)
    visit.body.keep(len(whole))
    return whole


def _gathered(inflate: Callable[[bytes], Iterator[bytes]] | None, *, blanks: bool) -> bytes | memoryview:
    body = io.BytesIO()
    for piece in _pieces():
        if inflate:
            body.writelines(inflate(piece))
        else:
            body.write(piece if blanks or body.tell() else without_blanks(piece))
    if inflate:
        body.writelines(inflate(b""))
    return body.getvalue()  # without a copy


def _pieces() -> Iterator[bytes]:
    """The body in pieces.

    Raises:
        RequestEntityTooLarge: it is sent in chunks, and goes on behind the limit.
    """
    most, announced = request.max_content_length or 0, request.content_length
    left = most if announced is None else min(most, announced)
    while left and (piece := request.stream.read(min(PIECE_BYTES, left))):
        left -= len(piece)
        yield piece
    if not left and announced is None and request.input_stream.read(1):
        raise RequestEntityTooLarge


def read_upload_form(visit: Visit, max_files: int) -> Form:
    """The pictures of a request, and the texts beside them; see `read_form` for `max_files` and what it raises.

    Raises:
        RequestEntityTooLarge: the body has more bytes than the instance takes.
        DeadlineExceeded: there was no memory for it in time, or the client has gone.
    """
    content_type = request.headers.get("Content-Type", "")
    body = [read_body(visit, blanks=False)]
    if len(body[0]) < SHORT_BYTES or is_one_file(body[0], content_type):
        return read_form(body.pop(), content_type, max_files)
    with visit.working(FORM_COPIES * len(body[0])):
        return read_form(body.pop(), content_type, max_files)


def json_answer(document: object) -> Response:
    """Writes an answer as JSON."""
    return Response(msgspec.json.encode(document), content_type="application/json")


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
