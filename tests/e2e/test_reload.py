"""A running nginx takes the files of any settings after those of any others, which `nginx -t` does not see."""

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.files.render import render
from deploy.fleet import Fleet
from deploy.machine import run
from deploy.paths import local_paths
from framefleet.machine.ports import reserved_ports
from tests.deploy.inventories import NO_GPU, expanded, hosts
from tests.e2e.fleet import wait_until
from tests.e2e.hosts import nginx_alone

pytestmark = pytest.mark.e2e
KEYS = '[keys]\nfile = "/etc/framefleet/keys"\nown = "/etc/framefleet/own.key"\n'
EDGE = 'mode = "edge"\nhosts = ["h1"]\n'
HERE = "127.0.0.2"
SUBJECT = ("openssl", "req", "-x509", "-nodes", "-days", "1", "-subj", "/CN=h1", "-newkey", "ec")
CURVE = ("-pkeyopt", "ec_paramgen_curve:prime256v1")


def limits(**values: int) -> str:
    return "[limits]\n" + "".join(f"{name} = {value}\n" for name, value in values.items())


# Those that differ in everything that nginx keeps over a reload.
QUICK = ("no limits", "all limits", "keys, all limits", "tls without redirect, keys", "edge, keys, tls")
NONE = {"connections": 0, "large": 0}


def settings(tls: str) -> dict[str, tuple[str, str, str, int]]:
    """By name: more of [balancer], other tables, lines of each host, CPU cores."""
    everything = limits(rate=9, burst=2, concurrency=3)
    return {
        "usual": ("", "", "cpu = 1", 4),
        "no limits": ("", limits(**NONE), "cpu = 1", 4),
        "all limits": ("", everything, "cpu = 1", 4),
        "another rate without burst": ("", limits(rate=7, burst=0), "cpu = 1", 4),
        "keys": ("", KEYS, "cpu = 1", 4),
        "keys, all limits": ("", KEYS + everything, "cpu = 1", 4),
        "tls without redirect, keys": ("", tls + "redirect = false\nhsts_days = 3\n" + KEYS, "cpu = 1", 4),
        "one worker, smaller bodies": ("", "[settings]\nmax_body_bytes = 5000\ndeadline_ms = 60000\n", "cpu = 2", 1),
        "edge": (EDGE, limits(concurrency=3), "cpu = 1\n|cpu = 1", 4),
        "edge, keys, tls": (EDGE, tls + KEYS, "cpu = 1\n|cpu = 2\ndrained = true", 4),
    }


@pytest.fixture
def certificate(tmp_path: Path) -> str:
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    run.run_command((*SUBJECT, *CURVE, "-keyout", str(key), "-out", str(chain)))
    return f'[tls]\ncertificate = "{chain}"\nkey = "{key}"\nport = {{secure}}\n'


def fleet_of(setting: tuple[str, str, str, int], folder: Path, port: int) -> Fleet:
    more, tables, lines, cores = setting
    text = f'[balancer]\naddress = "{HERE}"\nport = {port}\n{more}' + tables.format(secure=port + 1)
    inventory = text + hosts(*lines.split("|")).replace("10.0.0.", "127.0.0.")
    machine = replace(run.host_facts(None, os.environ), cores=cores)
    fleet = expanded(inventory, "h1", replace(NO_GPU, nodes={0: tuple(range(cores))}))
    return replace(fleet, paths=local_paths(folder), machine=replace(machine, open_files=fleet.machine.open_files))


def every_pair(names: list[str]) -> Iterator[str]:
    """A walk that starts at the first name and goes from every name to every other just once."""
    ways = {name: [other for other in names if other != name] for name in names}
    walk, back = [names[0]], []
    while walk:
        if ways[walk[-1]]:
            walk.append(ways[walk[-1]].pop())
        else:
            back.append(walk.pop())
    return reversed(back)


def children(pid: int) -> set[str]:
    return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


@pytest.mark.parametrize("chosen", [QUICK, pytest.param(None, marks=pytest.mark.slow)], ids=["few", "all"])
def test_between_every_two_settings_a_running_nginx_takes_the_new_files(
    tmp_path: Path, certificate: str, chosen: tuple[str, ...] | None
) -> None:
    with reserved_ports(2) as port:
        wanted = {name: each for name, each in settings(certificate).items() if chosen is None or name in chosen}
        fleets = {name: fleet_of(setting, tmp_path, port) for name, setting in wanted.items()}
        files = {name: render(fleet) for name, fleet in fleets.items()}
        assert len(set(map(str, files.values()))) == len(fleets), "two of them are the same"
        first, *rest = every_pair(list(fleets))
        log = tmp_path / "nginx.log"
        with nginx_alone(fleets[first]) as master:
            before = first
            for name in rest:
                old = children(master.pid)
                run.write_files(fleets[name].paths.etc, files[name])
                master.send_signal(signal.SIGHUP)
                wait_until("an end of the reload", lambda old=old: reloaded(master, old, log))
                assert "[emerg]" not in log.read_text(), f"{before} -> {name}: {log.read_text()}"
                before = name


def reloaded(master: "subprocess.Popen[bytes]", old: set[str], log: Path) -> bool:
    """Whether new workers are all there are, or nginx has refused to go on."""
    now = children(master.pid)
    return "[emerg]" in log.read_text() or (bool(now) and not now & old) or master.poll() is not None
