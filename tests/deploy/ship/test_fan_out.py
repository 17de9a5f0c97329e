"""Which hosts a deploy over ssh reaches, in which order, and what Ansible makes of the playbooks."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy.describe.fleet_file import read_inventory
from deploy.describe.inventory import Inventory
from deploy.errors import SettingsError
from deploy.verbs.fleet_verbs import (
    PLAYBOOKS,
    Reach,
    balancing,
    check_drain,
    deploy_command,
    hosts_file,
    in_order,
    verb_command,
    verifying,
)

ANSIBLE = (sys.executable, str(Path(sys.executable).with_name("ansible-playbook")))
EDGE = """
[model]
file = "simulated:"
[balancer]
mode = "edge"
hosts = ["edge1"]
[[hosts]]
name = "edge1"
address = "10.0.0.10"
gpus = []
[[hosts]]
name = "gpu1"
address = "10.0.0.11"
cpu = 1
[[hosts]]
name = "gpu2"
address = "10.0.0.12"
cpu = 1
"""


@pytest.fixture
def edge(tmp_path: Path) -> Inventory:
    return written(tmp_path, EDGE)


def written(folder: Path, text: str) -> Inventory:
    (folder / "fleet.toml").write_text(text)
    return read_inventory(folder / "fleet.toml")


def groups(inventory: Inventory) -> Any:
    return json.loads(hosts_file(inventory, "root").text)["all"]["children"]


def test_hosts_that_balance_over_others_come_last(edge: Inventory) -> None:
    assert [host.name for host in in_order(edge)] == ["gpu1", "gpu2", "edge1"]
    assert list(groups(edge)["fleet"]["hosts"]) == ["gpu1", "gpu2", "edge1"]


def test_hosts_that_all_balance_for_themselves_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    inventory = written(tmp_path, EDGE.replace('mode = "edge"\nhosts = ["edge1"]', "").replace("gpus = []", "cpu = 2"))
    assert [host.name for host in in_order(inventory)] == ["edge1", "gpu1", "gpu2"]
    assert balancing(inventory) == ("edge1", "gpu1", "gpu2")


def test_the_hosts_file_says_where_hosts_are_and_who_balances(edge: Inventory) -> None:
    assert groups(edge)["fleet"]["hosts"]["gpu2"] == {"ansible_host": "10.0.0.12"}
    assert list(groups(edge)["balancing"]["hosts"]) == ["edge1"]


def test_a_deploy_is_verified_through_every_balancer_unless_some_were_left_out(tmp_path: Path) -> None:
    second = '[[hosts]]\nname = "edge2"\naddress = "10.0.0.9"\ngpus = []\n'
    inventory = written(tmp_path, EDGE.replace('["edge1"]', '["edge1", "edge2"]') + second)
    assert verifying(inventory, ()) == ("edge1", "edge2")
    assert verifying(inventory, ("gpu1",)) == ("edge1", "edge2")
    assert verifying(inventory, ("gpu1", "edge2")) == ("edge2",)


def test_a_bundle_that_is_missing_and_a_batch_of_none_are_said_together(tmp_path: Path) -> None:
    reach = Reach(ANSIBLE, tmp_path / "hosts.json")
    with pytest.raises(SettingsError) as caught:
        deploy_command(reach, fleet_file=tmp_path / "fleet.toml", bundle=tmp_path / "none.tar", batch=0, through=())
    assert [problem.where for problem in caught.value.problems] == [f"--bundle {tmp_path / 'none.tar'}", "--batch"]


def test_draining_needs_a_host_that_exists_and_somebody_in_front_of_it(edge: Inventory, tmp_path: Path) -> None:
    check_drain(edge, "gpu1")
    with pytest.raises(SettingsError, match="not in the inventory"):
        check_drain(edge, "gpu9")
    each = written(tmp_path, EDGE.replace('mode = "edge"\nhosts = ["edge1"]', "").replace("gpus = []", "cpu = 2"))
    with pytest.raises(SettingsError, match="asked by clients directly"):
        check_drain(each, "gpu1")


@pytest.mark.parametrize("verb", ["deploy", "drain"])
def test_ansible_reads_the_playbooks_and_finds_the_hosts(edge: Inventory, tmp_path: Path, verb: str) -> None:
    (tmp_path / "bundle.tar").touch()
    (tmp_path / "hosts.json").write_text(hosts_file(edge, "root").text)
    reach = Reach(ANSIBLE, tmp_path / "hosts.json", only=("gpu2", "edge1"))
    fleet_file, bundle = tmp_path / "fleet.toml", tmp_path / "bundle.tar"
    command = {
        "deploy": deploy_command(reach, fleet_file=fleet_file, bundle=bundle, batch=2, through=("edge1",)),
        "drain": verb_command(reach, "fleet", "drain", "gpu1"),
    }[verb]
    listed = subprocess.run(
        [*command, "--list-hosts"],
        env={**os.environ, "ANSIBLE_HOME": str(tmp_path / "ansible")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert listed.returncode == 0, listed.stderr
    assert listed.stderr == ""
    assert {line.strip() for line in listed.stdout.splitlines()[-2:]} == {"gpu2", "edge1"}


def test_every_playbook_is_one_that_a_verb_plays() -> None:
    assert {path.name for path in PLAYBOOKS.glob("*.yml")} == {"deploy.yml", "verb.yml"}
