from dataclasses import replace
from pathlib import Path

import pytest

from deploy.describe.placement import EVENLY, Own
from deploy.errors import SettingsError
from tests.deploy.fleets import MACHINE, VAR, fleet_of


def test_instances_are_named_and_get_ports_in_a_row() -> None:
    fleet = fleet_of(3, instance_port=9000)
    assert [(i.name, i.host, i.port, i.url) for i in fleet.instances] == [
        ("cpu0", "127.0.0.1", 9000, "http://127.0.0.1:9000"),
        ("cpu1", "127.0.0.1", 9001, "http://127.0.0.1:9001"),
        ("cpu2", "127.0.0.1", 9002, "http://127.0.0.1:9002"),
    ]
    assert fleet.programs == ("cpu0", "cpu1", "cpu2", "balancer")


def placed(instances: int, own: Own = EVENLY) -> list[tuple[str, str]]:
    environments = [i.environment for i in fleet_of(instances, cpus_per_instance=own).instances]
    return [(environment["FRAMEFLEET_CPUS"], environment["FRAMEFLEET_THREADS"]) for environment in environments]


def test_instances_get_cpus_of_their_own_and_as_many_threads() -> None:
    assert placed(1) == [("", "8")]
    assert placed(2) == [("0-3", "4"), ("4-7", "4")]
    assert placed(20) == [("", "1")] * 20
    assert placed(2, own=1) == [("0", "1"), ("4", "1")]
    assert placed(2, own=0) == [("", "4")] * 2


def test_every_instance_gets_its_own_name_port_and_release() -> None:
    own = [i.environment for i in fleet_of(2, release="r7").instances]
    names = ("FRAMEFLEET_INSTANCE", "FRAMEFLEET_HOST", "FRAMEFLEET_PORT", "FRAMEFLEET_RELEASE")
    assert [[environment[name] for name in names] for environment in own] == [
        ["cpu0", "127.0.0.1", "8101", "r7"],
        ["cpu1", "127.0.0.1", "8102", "r7"],
    ]


def test_the_callers_settings_pass_through_except_those_the_fleet_owns() -> None:
    environ = {
        "FRAMEFLEET_CONF": "0.5",
        "FRAMEFLEET_THREADS": "3",
        "FRAMEFLEET_HOST": "0.0.0.0",
        "FRAMEFLEET_PORT": "1",
        "FRAMEFLEET_INSTANCE": "mine",
        "FRAMEFLEET_RELEASE": "mine",
        "FRAMEFLEET_CPUS": "7",
        "GUNICORN_CMD_ARGS": "--workers 9",
    }
    environment = fleet_of(1, environ=environ).instances[0].environment
    assert environment["FRAMEFLEET_CONF"] == "0.5"
    assert environment["FRAMEFLEET_THREADS"] == "3"
    assert environment["FRAMEFLEET_PORT"] == "8101"
    assert environment["FRAMEFLEET_INSTANCE"] == "cpu0"
    assert environment["FRAMEFLEET_HOST"] == "127.0.0.1"
    assert environment["FRAMEFLEET_RELEASE"] == "dev"
    assert environment["FRAMEFLEET_CPUS"] == ""
    assert "GUNICORN_CMD_ARGS" not in environment


@pytest.mark.parametrize(
    ("option", "variable", "model"),
    [
        pytest.param(None, None, "/srv/framefleet/var/models/centerface-320.onnx", id="default"),
        pytest.param(None, "/m/own.onnx", "/m/own.onnx", id="variable"),
        pytest.param("/m/other.onnx", "/m/own.onnx", "/m/other.onnx", id="option wins"),
        pytest.param("own.onnx", None, "/home/operator/own.onnx", id="relative to the caller's folder"),
        pytest.param("simulated:a_ms=2", None, "simulated:a_ms=2", id="simulated"),
    ],
)
def test_the_model_comes_from_option_then_variable_then_default(
    option: str | None, variable: str | None, model: str
) -> None:
    fleet = fleet_of(1, model=option, environ={"FRAMEFLEET_MODEL": variable} if variable else {})
    assert fleet.model == model
    assert fleet.instances[0].environment["FRAMEFLEET_MODEL"] == model


def test_nginx_and_supervisor_follow_the_services_limits() -> None:
    default = fleet_of()
    assert (default.balancer.max_body_bytes, default.balancer.read_timeout_s, default.stop_wait_s) == (2**26, 30, 45)
    limits = {
        "FRAMEFLEET_MAX_BODY_BYTES": "1000",
        "FRAMEFLEET_DEADLINE_MS": "60000.5",
        "FRAMEFLEET_GRACEFUL_TIMEOUT_S": "100",
    }
    raised = fleet_of(environ=limits)
    assert (raised.balancer.max_body_bytes, raised.balancer.read_timeout_s, raised.stop_wait_s) == (1000, 96, 115)


def test_files_and_folders_that_settings_name_are_found_from_where_they_were_typed() -> None:
    given = {"FRAMEFLEET_CACHE": "cache", "FRAMEFLEET_PLUGIN": "own/p.so", "FRAMEFLEET_QUARANTINE": "/q"}
    instance = fleet_of(1, environ={**given, "FRAMEFLEET_KEYS": "keys"}).instances[0].environment
    assert [instance[f"FRAMEFLEET_{name}"] for name in ("CACHE", "PLUGIN", "QUARANTINE", "KEYS")] == [
        *("/home/operator/cache", "/home/operator/own/p.so", "/q", "/home/operator/keys")
    ]


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 2), (64, 4)])
def test_nginx_gets_few_workers(cores: int, workers: int) -> None:
    assert fleet_of(machine=replace(MACHINE, cores=cores)).balancer.workers == workers


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"instances": 0}, "--instances: 0 is outside 1-64; choose a number in that range", id="none"),
        pytest.param({"instances": 65}, "--instances: 65 is outside 1-64; choose a number in that range", id="many"),
        pytest.param(
            {"cpus_per_instance": 5},
            "--cpus-per-instance: 2 x 5 = 10 CPUs on NUMA node 0, which has 8; lower it, or run fewer",
            id="more CPUs than there are",
        ),
        pytest.param({"port": 0}, "--port: 0 is outside 1-65535; choose a port such as 8080", id="port 0"),
        pytest.param(
            {"port": 0, "instance_port": 8080},
            "--port: 0 is outside 1-65535; choose a port such as 18080",
            id="port 0, and what would be advised is an instance's",
        ),
        pytest.param(
            {"port": 8102, "instance_port": 0},
            "--instance-port: instance ports 0-1 are not within 1-65535; choose a port such as 8201",
            id="instance port 0, and what would be advised is the balancer's",
        ),
        pytest.param(
            {"port": 8300, "instance_port": 65000, "instances": 64000},
            "--instances: 64000 is outside 1-64; choose a number in that range\n"
            "--instance-port: instance ports 65000-128999 are not within 1-65535; choose a port such as 8101",
            id="far too many",
        ),
        pytest.param(
            {"instance_port": 65535},
            "--instance-port: instance ports 65535-65536 are not within 1-65535; choose a port such as 8101",
            id="last port",
        ),
        pytest.param(
            {"port": 8102},
            "--port: 8102 lies within the instance ports 8101-8102; move --port or --instance-port",
            id="ports overlap",
        ),
        pytest.param(
            {"release": "a b"},
            "--release: 'a b' is no plain name; use letters, digits and . _ - (64 at most)",
            id="release",
        ),
        pytest.param(
            {"model": 'a"b.onnx'},
            "--model: '/home/operator/a\"b.onnx' contains '\"'; "
            "use a path without double quotes, line breaks, or a ; or # after a blank",
            id="model path",
        ),
        pytest.param(
            {"var": Path("/srv/[old] $1")},
            "--var: '/srv/[old] $1' contains '['; "
            "use a folder without \\ $ * ? [ ] double quotes, line breaks, or a ; or # after a blank",
            id="var",
        ),
        pytest.param(
            {"var": Path("/srv/a\\b")},
            "--var: '/srv/a\\\\b' contains '\\\\'; "
            "use a folder without \\ $ * ? [ ] double quotes, line breaks, or a ; or # after a blank",
            id="backslash",
        ),
        pytest.param(
            {"environ": {"FRAMEFLEET_CONF": '0"5'}},
            "FRAMEFLEET_CONF: '0\"5' contains '\"'; no setting needs that character: correct it",
            id="quote in a setting",
        ),
        pytest.param(
            {"environ": {"FRAMEFLEET_DEADLINE_MS": "soon"}},
            "FRAMEFLEET_DEADLINE_MS: 'soon' is not a number above 0; unset or correct it",
            id="no number",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place_and_fix(changes: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        fleet_of(**changes)  # type: ignore[arg-type]
    assert str(caught.value) == message
    assert caught.value.exit_code == 2


def test_the_socket_path_must_fit_with_the_suffix_that_supervisord_binds_first() -> None:
    suffix = len("/run/supervisor.sock")
    longest = "/" + "v" * (107 - len(".4194304") - suffix - 1)
    fleet_of(var=Path(longest))
    with pytest.raises(SettingsError, match="has 100 bytes, a unix socket's path may have 99"):
        fleet_of(var=Path(longest + "v"))


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        fleet_of(0, port=70000, release="", var=VAR)
    assert [problem.where for problem in caught.value.problems] == ["--instances", "--port", "--release"]
