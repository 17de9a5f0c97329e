"""Passes TCP connections on, each byte some time after it came: `python -m bench.delay FROM TO SECONDS`.

For kernels without `netem`. The sender's window grows as if there were no delay, which favours large bodies.
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("bench.delay")


import queue
import socket
import threading
import time
from collections.abc import Sequence

PIECE_BYTES = 2**18


def main(arguments: Sequence[str]) -> None:
    """Runs until it is ended; FROM and TO are `address:port`."""
    at, to, seconds = arguments
    with socket.create_server(_address(at)) as listener:
        while True:
            near, _ = listener.accept()
            try:
                pass_on(near, socket.create_connection(_address(to)), float(seconds))
            except OSError:  # nobody listens there yet
                near.close()


def pass_on(near: socket.socket, far: socket.socket, delay_s: float) -> None:
    """Joins two connections, in threads of its own, until both have ended."""
    for source, sink in ((near, far), (far, near)):
        if sink.family != socket.AF_UNIX:
            sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pieces: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
        threading.Thread(target=_take, args=(source, pieces, delay_s), daemon=True).start()
        threading.Thread(target=_give, args=(sink, pieces), daemon=True).start()


def _take(source: socket.socket, pieces: "queue.SimpleQueue[tuple[float, bytes]]", delay_s: float) -> None:
    piece = b"-"
    while piece:
        try:
            piece = source.recv(PIECE_BYTES)
        except OSError:
            piece = b""
        pieces.put((time.monotonic() + delay_s, piece))


def _give(sink: socket.socket, pieces: "queue.SimpleQueue[tuple[float, bytes]]") -> None:
    try:
        while True:
            due, piece = pieces.get()
            time.sleep(max(0.0, due - time.monotonic()))
            if not piece:
                sink.shutdown(socket.SHUT_WR)
                return
            sink.sendall(piece)
    except OSError:  # the other side is gone, which the other thread has seen as well
        return


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)
