"""New connections are steered past old sockets on real sockets, so that those can close without resetting one."""

import os
import select
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest

from deploy.guard.balancer import steered_past
from deploy.machine.processes import Listening, listening_sockets

HOST = "127.0.0.1"


class Group:
    """Sockets that share a port: two old ones, then two new ones."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.port = 0
        self.old = [self._join(), self._join()]
        self.before = listening_sockets([os.getpid()])[Listening(HOST, self.port)]
        self.new = [self._join(), self._join()]

    def _join(self) -> socket.socket:
        member = self._stack.enter_context(socket.socket())
        member.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        member.bind((HOST, self.port))
        member.listen()
        self.port = member.getsockname()[1]
        return member

    def dealt(self, connections: int = 60) -> Counter[int]:
        """How many of so many new connections each open socket gets, by its place in the order they joined."""
        members = dict(enumerate([*self.old, *self.new]))
        found: Counter[int] = Counter()
        for _ in range(connections):
            with socket.create_connection((HOST, self.port), timeout=10):
                opened = {member: index for index, member in members.items() if member.fileno() >= 0}
                ready = select.select(list(opened), [], [], 10)[0]
                for member in ready:
                    member.accept()[0].close()
                    found[opened[member]] += 1
        return found


@pytest.fixture
def group(capfd: pytest.CaptureFixture[str]) -> Iterator[Group]:
    with ExitStack() as stack:
        group = Group(stack)
        with steered_past({Listening(HOST, group.port): group.before}):
            # Such as in a container without the right to.
            if "[Errno 1]" in capfd.readouterr().err:
                pytest.skip("the kernel lets this user attach no program to a socket")
        yield group


def test_old_sockets_get_no_new_connection_as_long_as_it_lasts(group: Group) -> None:
    assert len(group.dealt()) == 4
    with steered_past({Listening(HOST, group.port): group.before}):
        assert group.dealt() == {2: 60}
    assert len(group.dealt()) == 4


def test_once_the_old_ones_are_closed_the_new_ones_share_again(group: Group) -> None:
    with steered_past({Listening(HOST, group.port): group.before}):
        for member in group.old:
            member.close()
            assert set(group.dealt()) <= {2, 3}
    assert set(group.dealt()) == {2, 3}


def test_no_connection_is_reset_while_the_old_ones_close(group: Group) -> None:
    with ThreadPoolExecutor(6) as pool, steered_past({Listening(HOST, group.port): group.before}):
        accepting = [pool.submit(accept_all, member) for member in group.new]
        clients = [pool.submit(connect, group.port, times=500) for _ in range(4)]
        try:
            for member in group.old:
                assert connect(group.port, times=50) == 0
                member.close()
            assert [client.result() for client in clients] == [0] * 4
        finally:
            for member in group.new:
                member.shutdown(socket.SHUT_RDWR)
    assert sum(future.result() for future in accepting) == 4 * 500 + 2 * 50


def accept_all(member: socket.socket) -> int:
    """Accepts until the socket is shut down."""
    accepted = 0
    with suppress(OSError):
        while True:
            member.accept()[0].close()
            accepted += 1
    return accepted


def connect(port: int, times: int) -> int:
    """Opens connections one after the other and waits for their end; returns how many were reset."""
    resets = 0
    for _ in range(times):
        with socket.create_connection((HOST, port), timeout=10) as client:
            try:
                client.recv(1)
            except ConnectionResetError:
                resets += 1
    return resets


def test_where_it_cannot_steer_it_says_so_and_goes_on(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server((HOST, 0)) as stranger, steered_past({Listening(HOST, stranger.getsockname()[1]): 1}):
        pass
    assert "new connections still reach old workers: [Errno 98]" in capfd.readouterr().err
