import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.describe.fleet_file import parse_inventory
from deploy.describe.inventory import Inventory
from deploy.describe.monitoring import neighbours, operators, page_json, targets_json
from deploy.files.render import dashboard_json, render_monitoring
from deploy.fleet import Neighbour
from deploy.machine.run import write_files
from tests.deploy.fleets import fleet_of
from tests.deploy.inventories import NO_GPU, expanded, hosts

TLS = '[tls]\ncertificate = "/t/chain.pem"\nkey = "/t/key.pem"\n'


def inventory(more: str = "") -> Inventory:
    return parse_inventory(hosts("cpu = 2", "cpu = 1") + more)


def test_a_local_fleet_shows_itself() -> None:
    assert json.loads(page_json(fleet_of(2))) == {"slo_ms": 100, "hosts": [{"name": "local", "path": "."}]}


def test_each_host_shows_the_others_too() -> None:
    fleet = expanded(hosts("cpu = 2", "cpu = 1"), devices=NO_GPU)
    assert [host["path"] for host in json.loads(page_json(fleet))["hosts"]] == [".", "_hosts/h2"]


def test_prometheus_finds_every_instance_and_the_programs_through_nginx() -> None:
    fleet = expanded(hosts("cpu = 2"), devices=NO_GPU)
    found = json.loads(targets_json(fleet))
    assert [target["labels"]["__metrics_path__"] for target in found] == [
        "/_instances/cpu0/metrics",
        "/_instances/cpu1/metrics",
        "/_programs/metrics",
    ]
    assert {target["labels"]["__scheme__"] for target in found} == {"http"}
    assert {target["targets"][0] for target in found} == {f"{fleet.address}:80"}


def test_with_tls_everything_is_asked_by_https() -> None:
    fleet = expanded(hosts("cpu = 1", "cpu = 1") + TLS, devices=NO_GPU)
    assert {target["labels"]["__scheme__"] for target in json.loads(targets_json(fleet))} == {"https"}
    assert [neighbour.url for neighbour in fleet.neighbours] == [f"https://{inventory().hosts[1].address}:443"]


def test_the_hosts_and_whom_the_inventory_names_may_look_and_nobody_else() -> None:
    found = operators(inventory('[monitoring]\noperators = ["192.0.2.0/24"]\n'))
    assert found == ("127.0.0.1", "192.0.2.0/24", *(host.address for host in inventory().hosts))


def test_where_one_host_balances_the_others_cannot_be_asked() -> None:
    one = inventory('[balancer]\nmode = "one"\nhosts = ["h1"]\n')
    first, second = one.hosts
    assert neighbours(one, first) == ()
    assert neighbours(one, second) == (Neighbour("h1", f"http://{first.address}:80"),)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool; apt-get install prometheus")
def test_prometheus_accepts_rules_and_scrape_config(tmp_path: Path) -> None:
    write_files(tmp_path, render_monitoring(inventory()))
    scrape = (tmp_path / "scrape.yml").read_text()
    (tmp_path / "prometheus.yml").write_text(f"rule_files: [rules.yml]\nscrape_configs:\n{scrape}")
    done = subprocess.run(
        ["promtool", "check", "config", str(tmp_path / "prometheus.yml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "13 rules found" in done.stdout


def test_alerts_measure_against_the_fleets_own_slo() -> None:
    rules = {str(file.path): file.text for file in render_monitoring(inventory("[monitoring]\nslo_ms = 250\n"))}
    assert "framefleet:request_seconds:p95_5m > 0.25\n" in rules["rules.yml"]
    assert "over 250 ms" in rules["rules.yml"]


def test_every_metric_of_the_dashboard_and_the_rules_is_one_the_fleet_has() -> None:

    source = Path(__file__).parents[3]
    known = "".join(path.read_text() for path in (source / "service").rglob("*.py"))
    known += (source / "deploy" / "guard" / "listener.py").read_text()
    texts = [dashboard_json(inventory().monitoring), *(file.text for file in render_monitoring(inventory()))]
    used = {name for text in texts for name in re.findall(r"\b(?:framefleet_|nv_)[a-z0-9_]+\b", text)}
    bare = {re.sub(r"_(?:total|sum|count|bucket)$", "", name) for name in used}
    assert len(bare) > 10
    assert [name for name in sorted(bare) if name not in known] == []
