"""What is rendered, as golden files; UPDATE_GOLDEN=1 rewrites them for review."""

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy.describe.fleet_file import parse_inventory
from deploy.files.render import render, render_monitoring
from deploy.fleet import Fleet
from deploy.machine.run import write_files
from deploy.rendered_file import RenderedFile
from tests.deploy.fleets import MACHINE, fleet_of
from tests.deploy.inventories import NO_GPU, ONE_HOST, expanded, hosts

GOLDEN = Path(__file__).parents[1] / "golden"
TLS = '[tls]\ncertificate = "/etc/framefleet/tls/chain.pem"\nkey = "/etc/framefleet/tls/key.pem"\n'
KEYS = '[keys]\nfile = "/etc/framefleet/keys"\nown = "/etc/framefleet/own.key"\n'
LIMITS = "[limits]\nrate = 50\nburst = 10\nconcurrency = 8\nconnections = 0\n"
EDGE = '[balancer]\nmode = "edge"\nhosts = ["h1"]\n'
FLEETS = {
    "two-instances": fleet_of(2),
    "root-one-simulated": fleet_of(
        1,
        model="simulated:a_ms=2,b_ms=0.1",
        machine=replace(MACHINE, root=True, cores=2, open_files=1024),
        environ={"FRAMEFLEET_MAX_BODY_BYTES": "1000000", "FRAMEFLEET_CONF": "0.5"},
    ),
    "host-with-gpus": expanded(hosts('gpus = "auto"\ncpu = 1')),
    "host-with-tls": expanded(hosts("cpu = 1") + TLS + KEYS + LIMITS, devices=NO_GPU),
    "edge": expanded(hosts("gpus = []", "cpu = 2", "cpu = 1\ndrained = true") + EDGE + TLS, devices=NO_GPU),
}


def text_of(files: tuple[RenderedFile, ...], path: str) -> str:
    return {str(file.path): file.text for file in files}[path]


@pytest.mark.parametrize("name", FLEETS)
def test_rendered_files_are_as_reviewed(name: str) -> None:
    files = render(FLEETS[name])
    if os.environ.get("UPDATE_GOLDEN"):
        shutil.rmtree(GOLDEN / name, ignore_errors=True)
        write_files(GOLDEN / name, files)
    reviewed = {str(p.relative_to(GOLDEN / name)): p.read_text() for p in (GOLDEN / name).rglob("*") if p.is_file()}
    assert {str(file.path): file.text for file in files} == reviewed


def test_every_template_is_rendered() -> None:
    folder = Path(__file__).parents[3] / "deploy"
    templates = {path.relative_to(folder) for path in folder.rglob("*.j2")}
    first_lines = {path: path.read_text().splitlines()[0] for path in map(folder.joinpath, templates)}
    rendered = "".join(file.text for fleet in FLEETS.values() for file in render(fleet))
    rendered += "".join(file.text for file in render_monitoring(parse_inventory(ONE_HOST)))
    assert [str(path) for path, line in first_lines.items() if line not in rendered] == []


def test_a_percent_sign_is_doubled_for_supervisor() -> None:
    files = render(fleet_of(1, environ={"FRAMEFLEET_NOTE": "5%d"}))
    assert 'FRAMEFLEET_NOTE="5%%d"' in text_of(files, "supervisor/programs/cpu0.conf")


def test_paths_with_spaces_are_quoted_for_each_program() -> None:
    files = render(fleet_of(1, var=Path("/srv/my fleet/var"), machine=replace(MACHINE, nginx=Path("/opt/my nginx"))))
    balancer = text_of(files, "supervisor/programs/balancer.conf")
    assert "-m deploy.guard.balancer '/opt/my nginx' '/srv/my fleet/var' '/srv/my fleet/var/etc' " in balancer
    assert 'pid "/srv/my fleet/var/run/nginx.pid";' in text_of(files, "nginx/nginx.conf")


@pytest.mark.parametrize(("memory_mb", "lines"), [(0, []), (4096, ["MemoryMax=4096M"])])
def test_a_hosts_memory_is_bounded_where_the_inventory_says_so(memory_mb: int, lines: list[str]) -> None:
    files = render(expanded(f"[system]\nmemory_mb = {memory_mb}\n" + hosts("cpu = 1")))
    unit = text_of(files, "systemd/framefleet.service").splitlines()
    assert [line for line in unit if line.startswith("MemoryMax")] == lines


def test_only_files_of_an_instance_change_with_that_instance() -> None:
    def texts(fleet: Fleet) -> dict[str, str]:
        return {str(file.path): file.text for file in render(fleet)}

    own: dict[str, Any] = {"environ": {"FRAMEFLEET_THREADS": "1"}, "cpus_per_instance": 0}
    two, three = texts(fleet_of(2, **own)), texts(fleet_of(3, **own))
    differing = {path for path in two.keys() | three.keys() if two.get(path) != three.get(path)}
    assert differing == {
        "fleet.json",
        "monitoring/targets.json",
        "nginx/snippets/figures.conf",
        "nginx/snippets/upstream.conf",
        "supervisor/programs/cpu2.conf",
    }


@pytest.mark.parametrize(
    ("name", "known"),
    [
        *(("gpu1", True), ("gpu1.site.com.au", True), ("GPU1", True), ("gpu1.site.com", False), ("gpu1.site", False)),
        *(("gpu", False), ("gpu1.site.com.au.evil.org", False), ("x.gpu1", False)),
    ],
)
def test_of_a_hosts_own_name_all_or_the_first_part_is_known(name: str, known: bool) -> None:
    text = text_of(render(fleet_of()), "nginx/snippets/hosts.conf")
    rules = re.findall(r'"~\*(\^http.+)" "";', text)
    assert known == any(re.search(rule, f"http||{name}|gpu1.site.com.au", re.IGNORECASE) for rule in rules)


def test_keys_of_every_length_take_as_much_of_the_zone_of_rates() -> None:
    zones = text_of(render(FLEETS["host-with-tls"]), "nginx/snippets/limit-zones.conf")
    (behind,) = re.findall(r'default "\$fleet_client( \.+)";', zones)
    # What nginx allots is the next power of 2, for the key and what it keeps with it.
    assert {(80 + length + len(behind) - 1).bit_length() for length in range(1, 256)} == {9}
