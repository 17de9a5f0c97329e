"""Steers new connections past the nginx workers that are about to finish, to those that have come beside them.

Sockets that listen on one port with SO_REUSEPORT form a group, and the kernel deals connections out among them. One
that was dealt to a socket, but not accepted when that socket closes, is reset. So before the old sockets close, the
group is given a program that names a newer one, and what the old ones still have waiting is accepted meanwhile.

See SO_ATTACH_REUSEPORT_CBPF in socket(7), and SO_DETACH_REUSEPORT_BPF (Linux 5.3).
"""

import ctypes
import socket
import struct
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from deploy.machine.processes import Listening

# Python's socket module names none of them.
SO_ATTACH_FILTER = 26
SO_ATTACH_REUSEPORT_CBPF = 51
SO_DETACH_REUSEPORT_BPF = 68
# Of classic BPF: its only instruction returns a constant.
BPF_RET_CONSTANT = 0x06
NOTHING = 0


@contextmanager
def steered_past(old: Mapping[Listening, int]) -> Iterator[None]:
    """Lets no new connection reach sockets that listened before others joined them, as long as the block lasts.

    Where the kernel or another user's socket does not allow it, connections go on being dealt out among all.

    Args:
        old: how many sockets of this user listened at each address before the others came.
    """
    guides = []
    try:
        for address, count in old.items():
            guide = socket.socket()
            guides.append(guide)
            try:
                _steer(guide, address, count)
            except OSError as error:
                print(f"new connections still reach old workers: {error}", file=sys.stderr, flush=True)
        yield
    finally:
        for guide in guides:
            _leave(guide)


def _steer(guide: socket.socket, address: Listening, count: int) -> None:
    guide.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    # The group's program is set through a member, so the guide has to listen, for an instant beside all others. It is
    # deaf: a client it is dealt to is not answered, and after a second tries again.
    _attach(guide, SO_ATTACH_FILTER, NOTHING)
    guide.bind((address.host, address.port))
    guide.listen()
    # The kernel appends who joins: behind the old ones comes the first of the new.
    _attach(guide, SO_ATTACH_REUSEPORT_CBPF, count)


def _leave(guide: socket.socket) -> None:
    try:
        # Left in place it would steer for ever, since the group outlives the guide.
        guide.setsockopt(socket.SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0)
    except OSError:
        pass  # it never steered
    finally:
        guide.close()


def _attach(guide: socket.socket, option: int, answer: int) -> None:
    """Attaches a program that answers the same whatever the packet: sock_fprog with one sock_filter."""
    instruction = ctypes.create_string_buffer(struct.pack("HBBI", BPF_RET_CONSTANT, 0, 0, answer))
    guide.setsockopt(socket.SOL_SOCKET, option, struct.pack("HP", 1, ctypes.addressof(instruction)))
