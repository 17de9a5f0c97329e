"""What runs on a host, expanded from the inventory."""

from pathlib import Path

import pytest

from deploy.describe.fleet_file import parse_inventory
from deploy.errors import SettingsError
from deploy.files.record import from_json, to_json
from deploy.fleet import Fleet, Unit
from deploy.machine.devices import Devices, Gpu
from tests.deploy.inventories import MODEL, NO_GPU, NODES, TWO_GPUS, expanded, expanded_from, hosts

MIG = Devices(
    (Gpu("0:0", "MIG-0000", "A100 MIG", 0), Gpu("0:1", "MIG-1111", "A100 MIG", 0), Gpu("1", "GPU-2222", "A100", 1)),
    NODES,
)


def names(fleet: Fleet) -> list[tuple[str, int, str]]:
    return [(instance.name, instance.port, instance.device) for instance in fleet.instances]


@pytest.mark.parametrize(
    ("line", "devices", "expected"),
    [
        pytest.param(
            'gpus = "auto"', TWO_GPUS, [("gpu0", 8101, "GPU-aaaa0000"), ("gpu1", 8102, "GPU-bbbb1111")], id="auto"
        ),
        pytest.param("gpus = [1]", TWO_GPUS, [("gpu1", 8101, "GPU-bbbb1111")], id="index"),
        pytest.param('gpus = ["GPU-bbbb1111"]', TWO_GPUS, [("gpu1", 8101, "GPU-bbbb1111")], id="uuid"),
        pytest.param(
            "gpus = [0]\ninstances_per_gpu = 2",
            TWO_GPUS,
            [("gpu0-0", 8101, "GPU-aaaa0000"), ("gpu0-1", 8102, "GPU-aaaa0000")],
            id="shared",
        ),
        pytest.param(
            "gpus = [0]\ncpu = 1", TWO_GPUS, [("gpu0", 8101, "GPU-aaaa0000"), ("cpu0", 8102, "cpu")], id="both"
        ),
        pytest.param("cpu = 2", NO_GPU, [("cpu0", 8101, "cpu"), ("cpu1", 8102, "cpu")], id="cpu"),
        pytest.param(
            "gpus = [0]", MIG, [("gpu0.0", 8101, "MIG-0000"), ("gpu0.1", 8102, "MIG-1111")], id="all of a cut GPU"
        ),
        pytest.param('gpus = ["0:1"]', MIG, [("gpu0.1", 8101, "MIG-1111")], id="one MIG device"),
    ],
)
def test_gpus_and_cpus_become_instances(line: str, devices: Devices, expected: list[tuple[str, int, str]]) -> None:
    assert names(expanded(hosts(line), devices=devices)) == expected


def test_a_process_sees_its_own_gpu_and_no_other() -> None:
    gpu, cpu = expanded(hosts("gpus = [1]\ncpu = 1")).instances
    assert gpu.environment["CUDA_VISIBLE_DEVICES"] == "GPU-bbbb1111"
    assert cpu.environment["CUDA_VISIBLE_DEVICES"] == ""


def test_an_instance_runs_on_the_cpus_near_its_gpu_with_that_many_threads() -> None:
    fleet = expanded(hosts('gpus = "auto"'))
    assert [(i.environment["FRAMEFLEET_CPUS"], i.environment["FRAMEFLEET_THREADS"]) for i in fleet.instances] == [
        ("0-7", "8"),
        ("8-15", "8"),
    ]


def test_settings_of_the_host_win_over_the_fleets_and_over_the_shared_cpus() -> None:
    text = "[settings]\nconf = 0.5\nqueue_size = 8\n" + hosts("[hosts.settings]\nconf = 0.6\nthreads = 3")
    environment = expanded(text).instances[0].environment
    assert [environment[f"FRAMEFLEET_{name}"] for name in ("CONF", "QUEUE_SIZE", "THREADS")] == ["0.6", "8", "3"]


def test_engines_keep_what_they_work_out_in_the_services_own_folder_unless_told_otherwise() -> None:
    fleet = expanded(hosts("cpu = 1"))
    assert fleet.instances[0].environment["FRAMEFLEET_CACHE"] == str(fleet.paths.home) == "/var/lib/framefleet/home"
    told = expanded(hosts('cpu = 1\n[hosts.settings]\ncache = "/srv/cache"'))
    assert told.instances[0].environment["FRAMEFLEET_CACHE"] == "/srv/cache"


def test_nginx_follows_the_limits_of_the_host() -> None:
    text = hosts("[hosts.settings]\nmax_body_bytes = 2048\ndeadline_ms = 60000\ngraceful_timeout_s = 90")
    fleet = expanded(text)
    assert (fleet.balancer.max_body_bytes, fleet.balancer.read_timeout_s, fleet.stop_wait_s) == (2048, 95, 105)


def test_instances_run_from_the_release_and_the_rest_from_the_link() -> None:
    fleet = expanded(hosts('gpus = "auto"'), release="r7")
    assert fleet.code.python == Path("/opt/framefleet/releases/r7/venv/bin/python")
    assert fleet.lasting.python == Path("/opt/framefleet/current/venv/bin/python")
    assert {i.environment["FRAMEFLEET_RELEASE"] for i in fleet.instances} == {"r7"}


def test_a_gpu_types_engine_takes_the_models_place_on_that_type_alone() -> None:
    devices = Devices((*TWO_GPUS.gpus, Gpu("2", "GPU-c", "NVIDIA H200", 1)), NODES)
    text = hosts('gpus = "auto"\ncpu = 1')
    fleet = expanded(text, devices=devices, engines={"NVIDIA L4": "/e/l4.engine"})
    models = [instance.environment["FRAMEFLEET_MODEL"] for instance in fleet.instances]
    assert models == ["/e/l4.engine", "/e/l4.engine", MODEL, MODEL]


@pytest.mark.parametrize(("line", "gpus"), [("gpus = [0]", True), ("cpu = 1", False)])
def test_the_unit_opens_gpus_only_where_an_instance_uses_one(line: str, gpus: bool) -> None:
    assert expanded(hosts(line)).unit == Unit("framefleet", "framefleet", gpus, "framefleet")


def test_a_host_that_only_balances_has_no_instance_and_needs_no_gpu() -> None:
    text = '[balancer]\nmode = "edge"\nhosts = ["h1"]\n' + hosts("gpus = []", "cpu = 1")
    assert expanded(text, devices=NO_GPU).programs == ("balancer",)


def test_the_shell_that_deploys_leaves_no_trace_in_the_files() -> None:
    machine = expanded(hosts("cpu = 1")).machine
    assert (machine.cwd, machine.root, machine.open_files) == (Path("/"), False, 65536)


def test_a_hosts_fleet_survives_the_way_through_its_record() -> None:
    tls = '[tls]\ncertificate = "/c.pem"\nkey = "/k.pem"\n[balancer]\nmode = "edge"\nhosts = ["h1"]\n'
    fleet = expanded(tls + hosts('gpus = "auto"', "cpu = 1\ndrained = true"))
    assert from_json(to_json(fleet)) == fleet


@pytest.mark.parametrize(
    ("line", "devices", "message"),
    [
        pytest.param(
            'gpus = "auto"',
            NO_GPU,
            'hosts[0].gpus: "auto" finds no GPU; install the driver, or set cpu = 1',
            id="auto without GPU",
        ),
        pytest.param(
            'gpus = [5, "GPU-zzzz"]',
            TWO_GPUS,
            "hosts[0].gpus: 5 is not on this host; there are: 0 (GPU-aaaa0000), 1 (GPU-bbbb1111)\n"
            "hosts[0].gpus: GPU-zzzz is not on this host; there are: 0 (GPU-aaaa0000), 1 (GPU-bbbb1111)",
            id="not there",
        ),
        pytest.param(
            'gpus = [0, "GPU-aaaa0000"]',
            TWO_GPUS,
            "hosts[0].gpus: 0 and GPU-aaaa0000 are one GPU; name it once",
            id="one GPU twice",
        ),
        pytest.param(
            'gpus = "auto"\ncpus_per_instance = 9',
            TWO_GPUS,
            "hosts[0].cpus_per_instance: 1 x 9 = 9 CPUs on NUMA node 0, which has 8; lower it, or run fewer",
            id="more CPUs than there are",
        ),
    ],
)
def test_what_the_host_does_not_have_is_told(line: str, devices: Devices, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        expanded(hosts(line), devices=devices)
    assert str(caught.value) == message


def test_more_gpus_than_ports_is_told_although_the_file_could_not_know() -> None:
    inventory = parse_inventory("[ports]\nlast = 8101\n" + hosts('gpus = "auto"'))
    with pytest.raises(SettingsError, match=r"hosts\[0\]: 2 instances exceed the ports 8101-8101; raise ports\.last"):
        expanded_from(inventory)


def test_every_instance_has_the_fleets_keys_and_its_tools_know_theirs() -> None:
    fleet = expanded(hosts("cpu = 2") + '[keys]\nfile = "/etc/framefleet/keys"\nown = "/etc/framefleet/own.key"\n')
    assert [i.environment["FRAMEFLEET_KEYS"] for i in fleet.instances] == ["/etc/framefleet/keys"] * 2
    assert fleet.own_key == Path("/etc/framefleet/own.key")
    assert from_json(to_json(fleet)) == fleet
    assert "FRAMEFLEET_KEYS" not in expanded(hosts("cpu = 1")).instances[0].environment
