"""Where generators of several machines meet, and that nobody else reaches it."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from loadtest.__main__ import main
from loadtest.errors import OptionError
from loadtest.generate.master_address import meeting_place
from tests.loadtest.waiting import wait_until


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1:5557", ("127.0.0.1", "5557")),
        ("127.9.0.2:5557", ("127.9.0.2", "5557")),
        ("LocalHost:1", ("127.0.0.1", "1")),
        ("[::1]:65535", ("::1", "65535")),
    ],
)
def test_a_place_is_an_address_and_a_port(text: str, place: tuple[str, str]) -> None:
    assert meeting_place(text, "--bind") == place


@pytest.mark.parametrize(
    "text", ["SECRET@host:5557", "SECRET", ":5557", "host:0", "host:65536", "host:", "host:x", "-x:5557 ", "host:5²"]
)
@pytest.mark.parametrize("option", ["--bind", "--master"])
def test_what_is_no_such_place_is_refused_and_not_repeated(option: str, text: str) -> None:
    with pytest.raises(OptionError, match=rf"{option}: must be ADDRESS:PORT") as caught:
        meeting_place(text.replace("-x", "a b"), option)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("host", ["10.0.0.5", "0.0.0.0", "[::]", "[::ffff:10.0.0.5]", "lead.example", "0", "127.1"])
@pytest.mark.parametrize("option", ["--bind", "--master"])
def test_a_place_that_other_machines_reach_is_refused_with_the_way_through_ssh(option: str, host: str) -> None:
    with pytest.raises(OptionError, match=rf"{option}: must be an address of this machine alone.*ssh -N -L 5557:"):
        meeting_place(f"{host}:5557", option)


@pytest.mark.parametrize("verb", [["scenario", "cameras", "--bind"], ["capacity", "--bind"], ["worker", "--master"]])
def test_every_verb_refuses_one_before_anything_starts(
    verb: list[str], sample_video: object, capsys: pytest.CaptureFixture[str]
) -> None:
    address = [] if verb[0] == "worker" else ["--url", "http://127.0.0.1:1", "--video", str(sample_video)]
    assert main([*verb, "SECRET@127.0.0.1:5557", *address]) == 2
    assert "SECRET" not in capsys.readouterr().err
    assert main([*verb, "0.0.0.0:5557", *address]) == 2
    assert "ssh -N -L 5557:127.0.0.1:5557" in capsys.readouterr().err


def test_plain_locust_waits_for_workers_and_shows_its_page_to_this_machine_alone(
    repo_root: Path, sample_video: Path, free_port: Callable[[], int]
) -> None:
    bind, page = free_port(), free_port()
    command = [
        sys.executable,
        "-m",
        "locust",
        "-f",
        "loadtest/generate/locustfile.py",
        "--master",
        "--loglevel",
        "ERROR",
    ]
    command += ["--master-bind-port", str(bind), "--web-port", str(page), "--host", "http://127.0.0.1:1"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
    with subprocess.Popen([*command, "--video", str(sample_video)], cwd=repo_root, env=environment) as locust:
        try:
            wait_until(lambda: answers("127.0.0.1", bind) and answers("127.0.0.1", page))
            # What is bound to every address answers there too.
            assert not answers("127.0.0.2", bind) and not answers("127.0.0.2", page)
        finally:
            locust.terminate()


def answers(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0
