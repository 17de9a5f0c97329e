"""What supervisord starts as the balancer: becomes nginx, and lets what another nginx left retire once this one serves.

A worker outlives a killed master and goes on answering; after the death of supervisord a master does, too. The port is
shared (`reuseport`), so the new nginx listens beside them; only then are new connections steered past the old workers,
and the ones they have wound down, and they are asked to finish. They serve on whatever keeps the new one from starting.

`steered_past`: steers new connections past the nginx workers that are about to finish, to those that have come beside
them.

Sockets that listen on one port with SO_REUSEPORT form a group, and the kernel deals connections out among them. One
that was dealt to a socket, but not accepted when that socket closes, is reset. So before the old sockets close, the
group is given a program that names a newer one, and what the old ones still have waiting is accepted meanwhile.

See SO_ATTACH_REUSEPORT_CBPF in socket(7), and SO_DETACH_REUSEPORT_BPF (Linux 5.3).
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("deploy.guard.balancer")


import ctypes
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from deploy.errors import DeployError
from deploy.files.nginx_files import digest_on_disk
from deploy.guard.reload import WIND_DOWN_S
from deploy.machine import run
from deploy.machine.processes import Listening, balancer_processes, can_be_shared, listening_sockets, serving_workers
from deploy.paths import Paths

# Python's socket module names none of them.
SO_ATTACH_FILTER = 26
SO_ATTACH_REUSEPORT_CBPF = 51
SO_DETACH_REUSEPORT_BPF = 68
# Of classic BPF: its only instruction returns a constant.
BPF_RET_CONSTANT = 0x06
NOTHING = 0
# Of an old worker, to close its sockets once it was asked to finish.
CLOSE_LIMIT_S = 2.0
POLL_S = 0.02


def retire(paths: Paths, old: Collection[int], theirs: Mapping[Listening, int], new: int) -> None:
    """Asks a left-over nginx to finish once another serves, and leaves it alone if none comes to.

    Args:
        paths: of their fleet.
        old: process ids of the left-over one.
        theirs: where it listens, before the other does.
        new: file descriptor of the process (pidfd) that becomes the other.
    """
    while not serving_workers(paths) - set(old):
        if select.select([new], [], [], POLL_S)[0]:
            return  # it could not start; supervisord tries again
    with steered_past(theirs):
        # A worker drops its idle connections when it finishes, and with them a request that is on its way there.
        _note(lambda: run.write_text(paths.winding_down, ""))
        try:
            time.sleep(WIND_DOWN_S)
            finish(paths, old)
            _holds(lambda: not listening_sockets(old), CLOSE_LIMIT_S)
        finally:
            _note(lambda: run.remove(paths.winding_down))


def finish(paths: Paths, old: Collection[int]) -> None:
    """Asks workers to finish; their master, if there is one, is killed first, for it would start others."""
    left = [process for process in balancer_processes(paths) if process.pid in old]
    masters = {process.parent for process in left} & {process.pid for process in left}
    for process in sorted(left, key=lambda process: process.pid not in masters):
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL if process.pid in masters else signal.SIGQUIT)


def _note(write: Callable[[], None]) -> bool:
    """Writes a note, or says that it could not: no note is worth a balancer."""
    try:
        write()
    except (OSError, ValueError, DeployError) as error:
        print(f"goes on without a note: {error}", file=sys.stderr, flush=True)
        return False
    return True


def _holds(condition: Callable[[], bool], limit_s: float) -> None:
    """Waits until something holds, or until the limit."""
    deadline = time.monotonic() + limit_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(POLL_S)


def _make_way(nginx: str, paths: Paths, old: Collection[int], theirs: Collection[Listening]) -> None:
    """Asks the old one to finish at once if it does not share its port, and the new one is going to start."""
    if all(map(can_be_shared, theirs)):
        return
    test = run.run_command((nginx, "-t", "-q", "-c", str(paths.nginx_conf)))
    if test.code:
        print(f"the old nginx serves on, for a new one could not: {test.output.strip()}", file=sys.stderr, flush=True)
    else:
        finish(paths, old)


def main(arguments: Sequence[str]) -> None:
    """Replaces this process with nginx. Arguments: the nginx binary, the fleet's folders in the order of `Paths`."""
    nginx, *folders = arguments
    paths = Paths(*map(Path, folders))
    if old := {process.pid for process in balancer_processes(paths)}:
        print(f"{len(old)} process(es) of an nginx that was killed will finish, once this one serves", file=sys.stderr)
        theirs, new = listening_sockets(old), os.pidfd_open(os.getpid())
        _make_way(nginx, paths, old, theirs)
        run.detach(lambda: retire(paths, old, theirs, new))
    if not _note(lambda: run.write_text(paths.nginx_loaded, digest_on_disk(paths))):
        # Better no note, which makes the next deploy reload, than an old one.
        _note(lambda: run.remove(paths.nginx_loaded))
    sys.stderr.flush()
    # nginx itself waits and tries again where the port is not free yet.
    os.execv(nginx, [nginx, "-c", str(paths.nginx_conf)])


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
