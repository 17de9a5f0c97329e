"""What settings point to is looked at before a model is loaded; what an instance cannot start with is one line."""

import http.client
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from framefleet.machine.listening import try_to_listen
from service.errors import StartError
from service.settings import Settings, read_settings
from service.surroundings import check_surroundings
from tests.instance import running_instance, start_instance, stop_instance

LIMIT_S = 60


@pytest.fixture
def settings(tmp_path: Path, free_port: Callable[[], int]) -> Settings:
    return Settings(port=free_port(), cache=str(tmp_path / "cache"))


def refusal(settings: Settings) -> str:
    with pytest.raises(StartError) as caught:
        check_surroundings(settings)
    return str(caught.value)


def test_what_is_there_is_fine_and_nothing_is_made(settings: Settings, tmp_path: Path) -> None:
    check_surroundings(replace(settings, quarantine=str(tmp_path / "new" / "quarantine")))
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken_may_be_left_yet(settings: Settings) -> None:
    with http.client.socket.create_server(("127.0.0.1", settings.port)):
        check_surroundings(settings)


def test_every_setting_that_points_to_nothing_is_told_at_once(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert refusal(
        replace(settings, host="192.0.2.1", keys="/nowhere/keys", plugin="/nowhere/p.so", quarantine=str(file / "q"))
    ) == (
        "FRAMEFLEET_HOST: 192.0.2.1 is no address of this machine; choose one that `ip address` lists, or 127.0.0.1; "
        "FRAMEFLEET_KEYS: /nowhere/keys: No such file or directory; `make key NAME=...` makes one; "
        "FRAMEFLEET_PLUGIN: /nowhere/p.so is no file; name the shared library, or unset it; "
        f"FRAMEFLEET_QUARANTINE: {file} is a file; name a folder that this user may write"
    )


def test_a_file_without_keys_is_only_said(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "keys").write_text("# none yet\n")
    check_surroundings(replace(settings, keys=str(tmp_path / "keys")))
    said = capsys.readouterr()
    assert "holds no key: nobody is let in until `make key` adds one" in said.out + said.err


def test_a_name_that_leads_nowhere_is_told(settings: Settings) -> None:
    assert "FRAMEFLEET_HOST: this machine finds no address for 'nowhere.invalid'" in refusal(
        replace(settings, host="nowhere.invalid")
    )


def test_a_cache_that_cannot_be_used_is_only_said(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    check_surroundings(replace(settings, cache=str(tmp_path / "file")))
    said = capsys.readouterr()
    assert f'"FRAMEFLEET_CACHE: {tmp_path}/file is a file"' in said.out + said.err


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("INSTANCE", "a b"),
        ("INSTANCE", "a\nb"),
        ("INSTANCE", "é"),
        ("RELEASE", "r/1"),
        ("RELEASE", "r" * 65),
        ("MODEL", "m.onnx\r"),
        ("KEYS", " keys"),
        ("CACHE", "cache\udce9"),
        ("THREADS", "1_0"),
        ("CONF", "0_1"),
    ],
)
def test_values_that_would_only_fail_later_are_refused(variable: str, value: str) -> None:
    with pytest.raises(StartError, match=f"^FRAMEFLEET_{variable}: "):
        read_settings({f"FRAMEFLEET_{variable}": value})


@pytest.mark.parametrize(
    ("settings", "code", "line"),
    [
        ({"host": "127.0.0.1:1"}, 78, "FRAMEFLEET_HOST: '127.0.0.1:1' ends in a port"),
        ({"keys": "/nowhere/keys"}, 78, "FRAMEFLEET_KEYS: /nowhere/keys: No such file"),
        ({"model": "FOLDER/m.onnx"}, 3, "FRAMEFLEET_MODEL: FOLDER/m.onnx: is a directory; name a file"),
        ({"model": "simulated:a_ms=nan"}, 3, "FRAMEFLEET_MODEL: simulated:a_ms=nan: 'a_ms=nan' is outside"),
        ({"model": "simulated:size=100000"}, 3, "FRAMEFLEET_MODEL: simulated:size=100000: 'size=100000' is outside"),
    ],
    ids=["host", "keys", "folder", "nan", "size"],
)
def test_an_instance_that_cannot_start_says_so_in_a_line(
    settings: dict[str, str], code: int, line: str, free_port: Callable[[], int], tmp_path: Path
) -> None:
    (tmp_path / "m.onnx").mkdir()
    given = {name: value.replace("FOLDER", str(tmp_path)) for name, value in settings.items()}
    model = given.pop("model", "simulated:")
    broken = start_instance(free_port(), model, tmp_path / "log", **given)
    try:
        assert broken.process.wait(LIMIT_S) == code
    finally:
        stop_instance(broken)
    log = broken.log.read_text()
    assert f"cannot start: {line.replace('FOLDER', str(tmp_path))}" in log
    assert "Traceback" not in log


@pytest.mark.skipif(try_to_listen("::1", 0) is not None, reason="this machine has no IPv6")
@pytest.mark.parametrize(
    ("host", "asked"), [("::1", "::1"), ("[::1]", "::1"), ("::", "127.0.0.1")], ids=["::1", "[::1]", "all, by IPv4"]
)
def test_ipv6_works_all_through(host: str, asked: str, free_port: Callable[[], int], tmp_path: Path) -> None:
    port = free_port()
    instance = start_instance(port, "simulated:a_ms=1", tmp_path / "log", host=host, allow="127.0.0.1,::1")
    try:
        in_url = f"[{asked}]" if ":" in asked else asked
        replace(instance, url=f"http://{in_url}:{port}").wait_until_ready()
        connection = http.client.HTTPConnection(asked, port, timeout=LIMIT_S)
        connection.request("GET", "/status")
        assert connection.getresponse().status == 200
        connection.close()
    finally:
        stop_instance(instance)
    assert f'"address": "[{host.strip("[]")}]:{port}"' in instance.log.read_text()


def test_a_host_name_is_listened_on_by_its_address(free_port: Callable[[], int], tmp_path: Path) -> None:
    with running_instance(free_port(), "simulated:a_ms=1", tmp_path / "log", host="localhost"):
        assert os.path.getsize(tmp_path / "log")
