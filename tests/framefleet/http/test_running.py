import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from framefleet.http.address import AddressError
from framefleet.http.running import NoFleetError, asked_address, running_address


@pytest.fixture
def var(tmp_path: Path) -> Iterator[Path]:
    """A fleet's folder with a supervisord that listens, on 127.0.0.1:8099."""
    (tmp_path / "run").mkdir()
    (tmp_path / "etc").mkdir()
    write_record(tmp_path)
    with socket.socket(socket.AF_UNIX) as supervisord:
        supervisord.bind(str(tmp_path / "run" / "supervisor.sock"))
        supervisord.listen()
        yield tmp_path


def write_record(var: Path, host: str = "127.0.0.1", tls: object = None) -> None:
    record = {"balancer": {"host": host, "port": 8099, "tls": tls}}
    (var / "etc" / "fleet.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("host", "tls", "address"),
    [
        ("127.0.0.1", None, "http://127.0.0.1:8099"),
        ("0.0.0.0", None, "http://127.0.0.1:8099"),
        ("10.0.0.7", None, "http://10.0.0.7:8099"),
        ("10.0.0.7", {"port": 443}, "http://127.0.0.1:8099"),
        ("::1", None, "http://[::1]:8099"),
    ],
)
def test_the_running_fleet_is_asked_where_this_machines_tools_reach_it(
    var: Path, host: str, tls: object, address: str
) -> None:
    write_record(var, host, tls)
    assert running_address(var) == address


def test_an_address_that_was_typed_comes_first(var: Path) -> None:
    assert asked_address("https://elsewhere/", var) == "https://elsewhere"
    assert asked_address("", var) == asked_address(None, var) == "http://127.0.0.1:8099"


def test_a_typed_address_that_is_none_is_refused_whatever_runs(var: Path) -> None:
    with pytest.raises(AddressError, match=r"is no address"):
        asked_address("elsewhere", var)


def test_what_a_stopped_or_killed_fleet_left_is_no_fleet(var: Path, tmp_path: Path) -> None:
    (var / "run" / "supervisor.sock").unlink()
    with pytest.raises(NoFleetError, match=re.escape(f"no fleet runs in {tmp_path}; start one with `make up`")):
        running_address(var)
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(var / "run" / "supervisor.sock"))
    with pytest.raises(NoFleetError, match="or name a service with --url"):
        running_address(var)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"balancer": {"host": "127.0.0.1", "port": "x", "tls": null}}'])
def test_a_damaged_record_is_said_with_its_path(var: Path, text: str) -> None:
    (var / "etc" / "fleet.json").write_text(text)
    with pytest.raises(NoFleetError, match=r"etc/fleet\.json: no record of a fleet of this version"):
        running_address(var)


def test_a_missing_record_is_said_with_its_path(var: Path) -> None:
    (var / "etc" / "fleet.json").unlink()
    with pytest.raises(NoFleetError, match=r"etc/fleet\.json: No such file or directory"):
        running_address(var)
