"""By HTTP/2 nothing tells whether a body follows a GET: as many as a page has files are answered, none with a body."""

import os
import socket
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.fleet import Fleet
from deploy.machine import run
from framefleet.machine.ports import reserved_ports
from tests.deploy.inventories import hosts
from tests.e2e.hosts import OtherHost, nginx_of
from tests.e2e.test_reload import CURVE, SUBJECT

pytestmark = pytest.mark.e2e
CAMERA = "127.0.0.31"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS = 0, 1, 4
END_STREAM, END_HEADERS = 1, 4
# By HPACK's static table: GET, https, /, and an authority.
GET = b"\x82\x87\x84\x01\x01x"
STATUSES = {0x88: 200, 0x8C: 400}
FILES = 4


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    run.run_command((*SUBJECT, *CURVE, "-keyout", str(key), "-out", str(chain)))
    with reserved_ports(2) as port:
        balancer = f'[balancer]\nmode = "edge"\nhosts = ["h1"]\naddress = "127.0.0.3"\nport = {port}\n'
        tls = f'[tls]\ncertificate = "{chain}"\nkey = "{key}"\nport = {port + 1}\n'
        inventory = balancer + tls + "[limits]\nlarge = 1\n" + hosts("gpus = []", "cpu = 1")
        here = inventory.replace("10.0.0.", "127.0.0.")
        with OtherHost("h2").listening("127.0.0.2", port), nginx_of(here, tmp_path / "nginx") as fleet:
            yield fleet


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def statuses(fleet: Fleet, frames: bytes, count: int) -> list[int]:
    """Sends frames at once; the statuses of as many answers, 0 for what HPACK has no short form of."""
    assert fleet.balancer.tls
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    address = (fleet.balancer.host, fleet.balancer.tls.port)
    found: list[int] = []
    with (
        socket.create_connection(address, timeout=30, source_address=(CAMERA, 0)) as plain,
        context.wrap_socket(plain) as connection,
        connection.makefile("rb") as received,
    ):
        connection.sendall(PREFACE + frame(SETTINGS, 0, 0) + frames)
        while len(found) < count:
            head = received.read(9)
            length, kind = int.from_bytes(head[:3], "big"), head[3]
            payload = received.read(length)
            if kind == HEADERS:
                found.append(STATUSES.get(payload[0], 0))
    return found


def test_a_page_with_many_files_is_answered_whole(fleet: Fleet) -> None:
    asked = b"".join(frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, GET) for number in range(FILES))
    assert statuses(fleet, asked, FILES) == [200] * FILES


def test_a_get_brings_no_body_that_could_fill_a_disk(fleet: Fleet) -> None:
    body = b"".join(frame(DATA, 0, 1, os.urandom(500)) for _ in range(3)) + frame(DATA, END_STREAM, 1)
    assert statuses(fleet, frame(HEADERS, END_HEADERS, 1, GET) + body, 1) != [200]
