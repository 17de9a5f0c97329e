"""`make bench-link`: what it prints, and what its relay passes on."""

import socket

import numpy as np

from bench.delay import pass_on
from bench.encodings import DEFAULT, FIRST_PROTOCOL, encodings
from bench.link import rows
from framefleet.client.__main__ import _parse

FRAME = np.zeros((720, 1280, 3), np.uint8)


def test_a_row_has_both_times_and_their_ratios() -> None:
    first, jpeg = rows({FIRST_PROTOCOL: [100.0, 200.0, 400.0], "JPEG 90": [10.0, 50.0, 100.0]})

    assert first.split() == ["first", "protocol", "200.0", "400.0", "ms", "1.000", "1.000"]
    assert jpeg.split() == ["JPEG", "90", "50.0", "100.0", "ms", "0.250", "0.250"]


def test_the_relay_passes_every_byte_and_the_end_on_both_ways() -> None:
    (client, near), (far, server) = socket.socketpair(), socket.socketpair()
    with client, near, far, server:
        pass_on(near, far, 0.001)
        client.sendall(b"a" * 300_000)
        client.shutdown(socket.SHUT_WR)
        assert b"".join(iter(lambda: server.recv(65_536), b"")) == b"a" * 300_000
        server.sendall(b"b")
        server.shutdown(socket.SHUT_WR)
        assert [client.recv(9), client.recv(9)] == [b"b", b""]


def test_the_default_is_what_the_client_sends() -> None:
    assert f"JPEG {_parse(['video.mp4']).quality}" == DEFAULT


def test_every_encoding_is_of_the_frame() -> None:
    sizes = {name: len(wire.encode(FRAME)) for name, wire in encodings().items()}

    assert sizes["JPEG 90, at most 320 px"] < sizes["JPEG 90, at most 640 px"] < sizes[DEFAULT] < sizes[FIRST_PROTOCOL]
