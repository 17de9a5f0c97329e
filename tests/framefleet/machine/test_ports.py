import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from framefleet.machine.ports import NoPortError, reserved_ports

IN_ANOTHER_PROCESS = """
from framefleet.machine.ports import reserved_ports
with reserved_ports(1, range({port}, {port} + 1)):
    print("given")
"""


def test_ports_lie_where_no_outgoing_connection_is_given_one() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    with reserved_ports(5) as first:
        assert first >= 1024 and first + 5 <= lowest


def test_nobody_is_given_a_reserved_port_until_it_is_given_back() -> None:
    with ExitStack() as held:
        ports = [held.enter_context(reserved_ports(2)) for _ in range(50)]
        taken = {port + offset for port in ports for offset in (0, 1)}
        assert len(taken) == 100
        with pytest.raises(NoPortError, match="no 1 free ports"):
            held.enter_context(reserved_ports(1, range(ports[0], ports[0] + 2)))
    with reserved_ports(2, range(ports[0], ports[0] + 2)) as again:
        assert again == ports[0]


def test_other_processes_are_kept_off_too(repo_root: Path) -> None:
    with reserved_ports() as port:
        command = [sys.executable, "-c", IN_ANOTHER_PROCESS.format(port=port)]
        done = subprocess.run(command, cwd=repo_root, capture_output=True, text=True, check=False)
        assert "NoPortError" in done.stderr
    assert subprocess.run(command, cwd=repo_root, capture_output=True, text=True, check=True).stdout == "given\n"


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.3"])
def test_a_port_in_use_is_passed_over(address: str) -> None:
    with reserved_ports() as port:
        pass
    with socket.socket() as other:
        other.bind((address, port))
        other.listen()
        with pytest.raises(NoPortError), reserved_ports(1, range(port, port + 1)):
            pass


def test_a_reserved_port_can_be_listened_on_at_once() -> None:
    with reserved_ports() as port, socket.socket() as server:
        server.bind(("127.0.0.1", port))
        server.listen()
