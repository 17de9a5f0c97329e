"""Holds requests while no instance listens, so that a lone instance's restart costs a wait and no error.

nginx asks this socket, its `backup` server, once every other refused or failed. A request waits here, for as long as
its deadline allows, until an instance takes a connection; then bytes pass both ways. Each is relayed once at most: what
an instance died of is not tried again from here. A connection that is closed unanswered makes nginx say 502. Who has
fewest requests here is served first, and who has most makes way in a full room, so that nobody keeps others out.

Flow: nginx's connection -> head -> patience_s -> seat -> relay, in a thread of the reviver's process.
"""

import asyncio
import re
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from deploy.errors import ControlError
from deploy.files.record import read_record
from deploy.fleet import REVIVER
from deploy.guard.reviver import Act
from deploy.machine import run
from deploy.paths import Paths

# Written by nginx alone, and left out where nobody should wait; see snippets/upstream.conf.
LONGEST = re.compile(rb"\r\nX-Wait-Ms: ([0-9]{1,7})\r\n")
CLIENT = re.compile(rb"\r\nX-Real-IP: ([^\r]*)\r\n")
OWN = re.compile(rb"\r\nX-Timeout-Ms:[ \t]*([0-9]{1,7}(?:\.[0-9]+)?)[ \t]*\r\n", re.IGNORECASE)
END = b"\r\n\r\n"
# nginx lets no larger head through.
HEAD_BYTES = 65536
HEAD_S = 5.0
PIECE_BYTES = 65536
RETRY_S = 0.05
# How long one who has hung up may keep a place.
LOOK_S = 0.5
# As nginx's own proxy_connect_timeout.
CONNECT_S = 0.8
REOPEN_S = 1.0
RECORD_S = 1.0

Address = tuple[str, int]
Reached = tuple[Address, socket.socket]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much the room takes.

    Attributes:
        held: requests in it, waiting or relayed; of more, one is closed. The kernel keeps 200 kB of each at most.
        each: requests relayed to one instance at once, so that one that returns is not overrun.
    """

    held: int = 512
    each: int = 6


@dataclass(frozen=True, slots=True)
class WaitingRequest:
    """A request that waits.

    Attributes:
        client: who asks, as nginx says.
        seat: a connection to an instance, in time.
    """

    client: bytes
    seat: "asyncio.Future[Reached]"


def patience_s(head: bytes) -> float:
    """How long a request may wait, from the head that nginx sent; 0 if it may not."""
    head = only_head(head)
    longest = LONGEST.search(head)
    own = OWN.search(head)
    allowed_ms = float(longest[1]) if longest else 0.0
    return min(allowed_ms, float(own[1]) if own else allowed_ms) / 1000


def client_of(head: bytes) -> bytes:
    """Whose a request is; empty if nginx does not say."""
    found = CLIENT.search(only_head(head))
    return found[1] if found else b""


def only_head(received: bytes) -> bytes:
    """Without what follows it: in a body clients write what they like."""
    return received[: received.index(END) + 2]


def by_load(servers: Sequence[Address], relayed: Counter[Address], each: int) -> list[Address]:
    """Those that may take one more request, the least busy first."""
    return sorted((server for server in servers if relayed[server] < each), key=lambda server: relayed[server])


class WaitingRoom:
    """The requests that wait and those that are relayed.

    Args:
        servers: addresses of the instances, as they are now.
        bounds: how much it takes.
    """

    def __init__(self, servers: Callable[[], Sequence[Address]], bounds: Bounds) -> None:
        self._servers, self._bounds = servers, bounds
        self._waiting: list[WaitingRequest] = []
        self._somebody = asyncio.Event()
        self._relayed: Counter[Address] = Counter()
        self._places: Counter[bytes] = Counter()
        self._held: set[asyncio.Task[None]] = set()

    async def serve(self, listening: socket.socket) -> None:
        """Takes nginx's connections until it is cancelled."""
        loop = asyncio.get_running_loop()
        seeker = asyncio.create_task(self._seek())
        try:
            while True:
                try:
                    connection, _ = await loop.sock_accept(listening)
                except OSError:  # such as out of file descriptors
                    await asyncio.sleep(RETRY_S)
                    continue
                if len(self._held) >= 2 * self._bounds.held:  # more than are asked who they are
                    connection.close()
                    continue
                task = asyncio.create_task(self._hold(connection))
                self._held.add(task)
                task.add_done_callback(self._held.discard)
        finally:
            await _ended(seeker, *self._held)

    async def _hold(self, connection: socket.socket) -> None:
        with connection, suppress(OSError, asyncio.TimeoutError):
            head = await asyncio.wait_for(_read_head(connection), HEAD_S)
            client = client_of(head)
            if not (patience := patience_s(head)) or not self._has_room_for(client):
                return
            self._places[client] += 1
            try:
                server, upstream = await self._seat(client, patience, connection)
                try:
                    with upstream:
                        await relay(head, connection, upstream)
                finally:
                    self._relayed[server] -= 1
            finally:
                self._places -= Counter({client: 1})

    def _has_room_for(self, client: bytes) -> bool:
        """Looks for a place, if need be that of the last to come of who has most."""
        if self._places.total() < self._bounds.held:
            return True
        most, places = max(self._places.items(), key=lambda item: item[1])
        last = next((one for one in reversed(self._waiting) if one.client == most and not one.seat.done()), None)
        if last is None or places <= self._places[client] + 1:
            return False
        return last.seat.cancel()

    async def _seat(self, client: bytes, patience: float, connection: socket.socket) -> Reached:
        """Waits for an instance.

        Raises:
            asyncio.TimeoutError: none came, or nobody waits for it any more.
        """
        loop = asyncio.get_running_loop()
        seat: asyncio.Future[Reached] = loop.create_future()
        self._waiting.append(WaitingRequest(client, seat))
        self._somebody.set()
        until = loop.time() + patience
        while not seat.done() and (left := until - loop.time()) > 0 and not _has_hung_up(connection):
            await asyncio.wait({seat}, timeout=min(left, LOOK_S))
        if not seat.done():
            seat.cancel()
        if seat.cancelled():
            raise asyncio.TimeoutError
        return seat.result()

    async def _seek(self) -> None:
        """Gives those who wait a connection each, as soon as one can be had."""
        while True:
            await self._somebody.wait()
            if not self._next():
                self._somebody.clear()
            elif not (reached := await self._reach()):
                await asyncio.sleep(RETRY_S)
            elif waiting := self._next():
                self._relayed[reached[0]] += 1
                waiting.seat.set_result(reached)
            else:
                reached[1].close()

    def _next(self) -> WaitingRequest | None:
        """Who came first, of those who still wait and have fewest places."""
        self._waiting = [one for one in self._waiting if not one.seat.done()]
        return min(self._waiting, key=lambda one: self._places[one.client], default=None)

    async def _reach(self) -> Reached | None:
        for host, port in by_load(self._servers(), self._relayed, self._bounds.each):
            with suppress(OSError, asyncio.TimeoutError):
                return (host, port), await _connected(host, port)
        return None


def _has_hung_up(connection: socket.socket) -> bool:
    """True if the other side has closed, whatever it sent before that."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return bool(poll.poll(0))


async def _connected(host: str, port: int) -> socket.socket:
    """Connects.

    Raises:
        OSError: nobody listens.
        asyncio.TimeoutError: nobody says anything.
    """
    upstream = socket.socket()
    try:
        upstream.setblocking(False)
        await asyncio.wait_for(asyncio.get_running_loop().sock_connect(upstream, (host, port)), CONNECT_S)
        # Of an ephemeral port that nobody listens on, the kernel may connect a socket to itself.
        if upstream.getsockname() == (host, port):
            raise ConnectionRefusedError
    except BaseException:
        upstream.close()
        raise
    return upstream


async def _read_head(connection: socket.socket) -> bytes:
    """Reads up to the end of a head, and what came with it.

    Raises:
        ConnectionError: it is none.
    """
    head = b""
    while END not in head:
        piece = await asyncio.get_running_loop().sock_recv(connection, PIECE_BYTES // 4)
        head += piece
        if not piece or len(head) > HEAD_BYTES:
            raise ConnectionError("no head of a request")
    return head


async def relay(first: bytes, client: socket.socket, server: socket.socket) -> None:
    """Passes bytes both ways until the server has answered or the client is gone.

    Args:
        first: what was read of the client already.
        client: non-blocking.
        server: non-blocking, connected.

    Raises:
        OSError: either of them broke off.
    """
    asking = asyncio.create_task(_pass(client, server, first))
    answering = asyncio.create_task(_pass(server, client))
    try:
        await asyncio.wait({asking, answering}, return_when=asyncio.FIRST_COMPLETED)
        # Who refuses a body unread closes its side, and has said why.
        if answering.done() or asking.exception():
            await answering
    finally:
        await _ended(asking, answering)


async def _pass(source: socket.socket, sink: socket.socket, first: bytes = b"") -> None:
    loop = asyncio.get_running_loop()
    piece = first or await loop.sock_recv(source, PIECE_BYTES)
    while piece:
        await loop.sock_sendall(sink, piece)
        piece = await loop.sock_recv(source, PIECE_BYTES)


async def _ended(*tasks: "asyncio.Task[None]") -> None:
    # Before Python 3.12 wait_for may swallow a cancellation: again, then.
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=RETRY_S)
    await asyncio.gather(*tasks, return_exceptions=True)


def instances_of(paths: Paths, clock: Callable[[], float] = time.monotonic) -> Callable[[], Sequence[Address]]:
    """Makes what names the instances to wait for, from the fleet's record; it is read once a second at most."""
    known: Sequence[Address] = ()
    until = clock()

    def servers() -> Sequence[Address]:
        nonlocal known, until
        if clock() >= until:
            until = clock() + RECORD_S
            # While a configuration is exchanged the last one holds.
            with suppress(ControlError):
                known = read_record(paths).held_for
        return known

    return servers


def wait_for_ever(paths: Paths, tell: Callable[[Act], None], *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Keeps the room open until this process ends.

    Args:
        paths: of the fleet; its record names the instances.
        tell: takes what keeps the room closed, once.
        sleep: waits for s.
    """
    told = ""
    while True:
        try:
            with run.listening_at(paths.waiting_room) as listening:
                asyncio.run(_serve(paths, listening))
        except Exception as error:  # whatever it is must not close it for good
            if str(error) != told:
                told = str(error)
                tell(Act("alert", REVIVER, f"cannot hold requests while no instance listens: {error}"))
        sleep(REOPEN_S)


async def _serve(paths: Paths, listening: socket.socket) -> None:
    await WaitingRoom(instances_of(paths), Bounds()).serve(listening)
