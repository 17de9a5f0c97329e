"""fleet.toml as people write it: what is read, and every mistake told at once with its path."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy.allowance import GENEROUS
from deploy.describe.fleet_file import parse_inventory, read_inventory, survey, tomllib
from deploy.describe.inventory import Host
from deploy.errors import SettingsError
from deploy.paths import Folders
from tests.deploy.inventories import EXAMPLE, ONE_HOST, hosts


def problems(text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        parse_inventory(text)
    return [str(problem) for problem in caught.value.problems]


def keys(values: dict[str, Any], where: str = "") -> set[str]:
    """Paths of all keys; of a list of tables, those of each."""
    found = set()
    for key, value in values.items():
        path = f"{where}.{key}" if where else key
        if isinstance(value, dict):
            found |= keys(value, path)
        elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            found |= {name for item in value for name in keys(item, path)}
        else:
            found.add(path)
    return found


def known_here(table: str) -> set[str]:
    """The keys that are known in one table, as the message about an unknown one lists them."""
    text = (
        f"[[hosts]]\nzzzzzzzz = 1\n[hosts.settings]\n{ONE_HOST}"
        if table == "hosts"
        else f"{ONE_HOST}[{table}]\nzzzzzzzz = 1"
    )
    (message,) = [m for m in problems(text) if "zzzzzzzz: no such key" in m]
    return set(re.findall(r"[a-z0-9_]+", message.partition("known here: ")[2]))


def test_the_commented_example_is_valid_and_fills_every_table() -> None:
    inventory = read_inventory(EXAMPLE)
    assert [host.name for host in inventory.hosts] == ["gpu1", "gpu2", "edge1"]
    assert (inventory.balancing.mode, inventory.balancing.hosts) == ("edge", ("edge1",))
    assert inventory.folders == Folders()
    assert inventory.balancing.tls is not None


@pytest.mark.parametrize(
    "table", ["model", "balancer", "tls", "ports", "system", "folders", "monitoring", "keys", "limits", "hosts"]
)
def test_the_example_shows_exactly_the_keys_that_are_read(table: str) -> None:
    shown = {path for path in keys(tomllib.loads(EXAMPLE.read_text())) if path.startswith(f"{table}.")}
    own = {path.split(".")[1] for path in shown}
    assert own == known_here(table)


def test_the_example_shows_defaults_where_it_says_so() -> None:
    example, default = read_inventory(EXAMPLE), parse_inventory(ONE_HOST)
    for name in ("model", "first_port", "last_port", "user", "group", "nginx", "open_files", "memory_mb", "folders"):
        assert getattr(example, name) == getattr(default, name), name
    assert (example.balancing.address, example.balancing.port) == ("0.0.0.0", 80)
    assert example.balancing.allowance == default.balancing.allowance == GENEROUS
    plain = {"name": "h1", "address": "h1", "settings": {}}
    assert replace(example.hosts[0], **plain) == default.hosts[0]


def test_a_host_needs_no_more_than_a_name() -> None:
    inventory = parse_inventory(ONE_HOST)
    assert inventory.hosts == (Host("h1", "h1", "auto"),)
    assert (inventory.balancing.mode, inventory.balancing.port, inventory.balancing.tls) == ("each", 80, None)
    assert (inventory.first_port, inventory.last_port, inventory.user) == (8101, 8164, "framefleet")


def test_a_host_with_cpu_instances_does_not_take_its_gpus_too_unless_told() -> None:
    both = parse_inventory(hosts("cpu = 2", 'cpu = 2\ngpus = "auto"')).hosts
    assert [(host.gpus, host.instances) for host in both] == [((), 2), ("auto", None)]


def test_gpus_are_named_by_index_uuid_or_mig() -> None:
    line = 'gpus = [0, "1:2", "GPU-5a6d1f0c-8a54", "MIG-41b36c1e"]\ninstances_per_gpu = 2'
    (host,) = parse_inventory(hosts(line)).hosts
    assert host.gpus == ("0", "1:2", "GPU-5a6d1f0c-8a54", "MIG-41b36c1e")
    assert host.instances == 8


def test_settings_become_variables_and_a_hosts_own_are_kept_apart() -> None:
    inventory = parse_inventory(
        '[settings]\nconf = 0.5\nmode = "throughput"\n' + hosts("[hosts.settings]\nthreads = 4")
    )
    assert inventory.settings == {"FRAMEFLEET_CONF": "0.5", "FRAMEFLEET_MODE": "throughput"}
    assert inventory.hosts[0].settings == {"FRAMEFLEET_THREADS": "4"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "[hosts]", "hosts: {} is not tables, each under [[hosts]]; write tables, each under [[hosts]]", id="list"
        ),
        pytest.param("[[hosts]]", "hosts[0].name: missing; write text in quotes", id="no name"),
        pytest.param(
            hosts('cpus_per_instance = "all"'),
            "hosts[0].cpus_per_instance: 'all' will not do; write \"auto\", or a whole number",
            id="CPUs that are neither a number nor auto",
        ),
        pytest.param(
            hosts("cpu = -1"), "hosts[0].cpu: -1 is outside 0-64; choose a number in that range", id="number too low"
        ),
        pytest.param(
            hosts("cpu = true"),
            "hosts[0].cpu: True is not a whole number; write a whole number",
            id="true is no number",
        ),
        pytest.param(
            hosts("drained = 1"), "hosts[0].drained: 1 is not true or false; write true or false", id="1 is not true"
        ),
        pytest.param(
            hosts('gpus = "all"'),
            'hosts[0].gpus: \'all\' will not do; write "auto", or a list of indices (0, "0:1" for a MIG device) '
            "and UUIDs as `nvidia-smi -L` shows them",
            id="gpus",
        ),
        pytest.param(
            hosts("gpus = [0, 0]"),
            "hosts[0].gpus: names 0 twice; name each once; instances_per_gpu shares a GPU",
            id="gpu twice",
        ),
        pytest.param(
            hosts("gpu = [0]"), "hosts[0].gpu: no such key; did you mean 'gpus'?", id="unknown key with a near one"
        ),
        pytest.param(
            f'[balancer]\nmode = "two"\n{ONE_HOST}',
            "balancer.mode: 'two' is not one of each, one, edge; choose one of them",
            id="mode",
        ),
        pytest.param(
            f'[balancer]\naddress = "10.0.0.256"\n{ONE_HOST}',
            "balancer.address: '10.0.0.256' will not do; write an IPv4 address; 0.0.0.0 is every one of the host",
            id="address",
        ),
        pytest.param(
            f'[tls]\ncertificate = "/etc/c.pem"\n{ONE_HOST}', "tls.key: missing; write text in quotes", id="tls key"
        ),
        pytest.param(
            f'[folders]\nstate = "var"\n{ONE_HOST}',
            "folders.state: 'var' will not do; write an absolute path without spaces, quotes, $ ; # * ? [ ] % :",
            id="relative folder",
        ),
        pytest.param(
            f'[model]\nsha256 = "12"\n{ONE_HOST}',
            "model.sha256: '12' will not do; write the 64 hexadecimal digits that sha256sum shows",
            id="hash",
        ),
        pytest.param(
            f"[settings]\nport = 1\n{ONE_HOST}",
            "settings.port: the fleet gives every instance its own; leave it out; [model] names the model",
            id="setting of the fleet",
        ),
        pytest.param(
            f'[settings]\nconf = "0;5"\n{ONE_HOST}',
            "settings.conf: '0;5' contains ';'; no setting needs that character: correct it",
            id="unsafe setting",
        ),
        pytest.param(
            hosts('[hosts.settings]\ndeadline_ms = "soon"'),
            "hosts[0].settings.deadline_ms: 'soon' is not a number above 0; unset or correct it",
            id="setting that nginx needs",
        ),
    ],
)
def test_a_mistake_is_told_with_its_path_and_fix(text: str, message: str) -> None:
    assert problems(text) == [message]


def test_all_mistakes_are_told_at_once() -> None:
    text = 'nonsense = 1\n[ports]\nfirst = "a"\n[settings]\nConf = 1\n' + hosts("cpu = 99", "gpus = 3")
    assert {message.split(":")[0] for message in problems(text)} == {
        "ports.first",
        "settings.Conf",
        "hosts[0].cpu",
        "hosts[1].gpus",
        "nonsense",
    }


def test_text_that_is_no_toml_is_told_with_its_line() -> None:
    (message,) = problems("[model\n")
    assert message == "line 1, column 7: Expected ']' at the end of a table declaration; correct its TOML"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a = 1\nb = \n", "line 2, column 5"),
        ('[system]\nuser = "x', "line 2, column 10"),
        ("[system]\n[system]\n", "line 2, column 8"),
        ("a = 1\na = 2\n", "line 2, column 6"),
        ("a = [1,\n", "line 2, column 1"),
    ],
    ids=["no value", "open quotes", "table twice", "key twice", "open list"],
)
def test_a_mistake_of_syntax_is_told_with_line_and_column(text: str, place: str) -> None:
    (message,) = problems(text)
    assert message.startswith(f"{place}: ") and "at line" not in message and "end of document" not in message


def test_deep_nesting_is_a_mistake_and_no_crash() -> None:
    assert problems("a = " + "[" * 100_000)[0].startswith("TOML: ")


def test_problems_of_a_file_name_the_file(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text("[[hosts]]")
    with pytest.raises(SettingsError, match=re.escape(f"{file}: hosts[0].name: missing")):
        read_inventory(file)


def test_a_file_that_is_missing_says_what_to_start_from(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"fleet\.toml: .*; deploy/fleet\.example\.toml is a file to start from"):
        read_inventory(tmp_path / "fleet.toml")


def test_a_mark_that_editors_put_in_front_is_no_mistake(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_bytes(b"\xef\xbb\xbf" + ONE_HOST.replace("\n", "\r\n").encode())
    assert [host.name for host in read_inventory(file).hosts] == ["h1"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ONE_HOST.encode("utf-16"), "is UTF-16, as some editors write it; save it as UTF-8"),
        (ONE_HOST.encode("utf-16-be"), "is UTF-16, as some editors write it; save it as UTF-8"),
        (
            f"{ONE_HOST}# Müller\n".encode("latin-1"),
            f"line {ONE_HOST.count(chr(10)) + 1} is not UTF-8, but perhaps Latin-1 (byte 0xfc); save it as UTF-8",
        ),
    ],
    ids=["UTF-16", "without its mark", "Latin-1"],
)
def test_a_file_in_another_encoding_is_told_so(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "fleet.toml"
    file.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        read_inventory(file)
    assert str(caught.value) == f"{file}: {message}"


@pytest.mark.parametrize("name", ["fleet.example.org:80", "http://fleet", "a b", "$host", "x|y", ""])
def test_what_is_no_host_name_is_told(name: str) -> None:
    _, problems = survey(f'[monitoring]\nnames = ["{name}"]\n[[hosts]]\nname = "h1"\n')
    assert [problem.where for problem in problems] == ["monitoring.names"]
