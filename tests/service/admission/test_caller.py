"""Whom a request is counted for."""

import pytest

from service.protocols.exchange import named
from service.server.allow import parse_allow

EDGE = "10.0.0.10"


@pytest.mark.parametrize(
    ("peer", "given", "expected"),
    [
        pytest.param("127.0.0.1", "192.0.2.7", "192.0.2.7", id="nginx of this machine"),
        pytest.param("::ffff:127.0.0.1", "192.0.2.7", "192.0.2.7", id="on an IPv6 socket"),
        pytest.param(EDGE, "192.0.2.7", "192.0.2.7", id="nginx of another machine"),
        pytest.param("192.0.2.66", "192.0.2.7", "192.0.2.66", id="a stranger names himself"),
        pytest.param("127.0.0.1", "", "127.0.0.1", id="without the header"),
        pytest.param("127.0.0.1", "a\x00b", "127.0.0.1", id="no address"),
        pytest.param("127.0.0.1", "2001:db8:1:2:3::4", "2001:db8:1:2::/64", id="an IPv6 site"),
        pytest.param("", "", "", id="a socket without an address"),
    ],
)
def test_nginx_names_clients_and_nobody_else_does(peer: str, given: str, expected: str) -> None:
    assert named(peer, given, parse_allow(EDGE)) == expected
