import re
from pathlib import Path

import pytest

from deploy.__main__ import main
from deploy.machine.devices import devices_from_json
from tests.deploy.inventories import hosts

UP = ("--model", "simulated:", "--port", "8080", "--instance-port", "8101")


def test_render_writes_the_files_and_lists_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build = tmp_path / "build"
    assert main(["render", "--var", str(tmp_path / "var"), "--out", str(build), "--instances", "3", *UP]) == 0
    listed = {Path(line) for line in capsys.readouterr().out.splitlines()}
    assert listed == {path for path in build.rglob("*") if path.is_file()}
    assert build / "etc/supervisor/programs/cpu2.conf" in listed
    assert not (tmp_path / "var").exists()


def test_limits_and_keys_of_a_local_fleet_come_from_options_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAMEFLEET_KEYS", "var/keys")
    limits = ("--rate", "5", "--burst", "0", "--concurrency", "2", "--connections", "0")
    assert main(["render", "--var", str(tmp_path / "var"), "--out", str(tmp_path), *UP, *limits]) == 0
    snippets = tmp_path / "etc/nginx/snippets"
    assert "_of_one_size zone=rate_by_key:10m rate=5r/s;" in (snippets / "limit-zones.conf").read_text()
    assert "limit_req zone=rate_by_key;" in (snippets / "limits.conf").read_text()
    assert f'FRAMEFLEET_KEYS="{Path.cwd()}/var/keys"' in (tmp_path / "etc/supervisor/programs/cpu0.conf").read_text()


@pytest.mark.parametrize("number", ["-1", "65536", "many"])
def test_a_limit_that_is_none_is_refused(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["up", "--rate", number])
    assert "--rate" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--port", "--instance-port", "--instances", "--rate"])
@pytest.mark.parametrize("number", ["", "80_80", "1.5", "1e3", "٨٠", "0x50", "$(id)"])
def test_what_is_no_number_is_named(option: str, number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["up", f"{option}={number}"])
    assert capsys.readouterr().err.endswith(f"error: argument {option}: {number!r} is no whole number\n")


@pytest.mark.parametrize(
    ("text", "said"), [("all", "'all' is no whole number, nor auto"), ("-1", "-1 is outside 0-1024")]
)
def test_cpus_that_are_none_are_refused(text: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["up", f"--cpus-per-instance={text}"])
    assert capsys.readouterr().err.endswith(f"error: argument --cpus-per-instance: {said}\n")


@pytest.mark.parametrize(
    "limits",
    [[], ["--rate", "5", "--burst", "0", "--concurrency", "2"], ["--rate", "65535", "--burst", "65535"]],
    ids=["default", "smallest", "largest"],
)
def test_config_check_accepts_what_is_rendered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], limits: list[str]
) -> None:
    assert main(["config-check", "--var", str(tmp_path / "var"), "--out", str(tmp_path), *UP, *limits]) == 0
    assert capsys.readouterr().out == "nginx, supervisor and the service accept the configuration of 2 instance(s)\n"
    assert list(tmp_path.iterdir()) == []


def test_config_check_without_nginx_says_how_to_get_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config-check", "--var", str(tmp_path), "--nginx", "/nowhere", *UP]) == 1
    assert capsys.readouterr().err == "nginx: not found (/nowhere); install it: apt-get install nginx-light\n"


def test_config_check_says_what_is_wrong_with_options_and_settings_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"CONF": "7", "QEUE_SIZE": "1", "DEADLINE_MS": "soon", "PORT": "1"}.items():
        monkeypatch.setenv(f"FRAMEFLEET_{name}", value)
    assert main(["config-check", "--var", str(tmp_path), "--instances", "0", *UP]) == 2
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == [
        "--instances",
        "FRAMEFLEET_DEADLINE_MS",
        "FRAMEFLEET_CONF",
        "FRAMEFLEET_QEUE_SIZE",
    ]


def test_logs_before_there_are_any_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", "--var", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"{tmp_path}/log: there are no logs yet; `make up` starts a fleet\n"


def test_settings_that_make_no_fleet_end_with_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "--var", str(tmp_path), "--instances", "0", "--port", "0"]) == 2
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == ["--instances", "--port"]


@pytest.mark.parametrize(
    "arguments",
    [["fly"], ["exec"], ["exec", "--"], ["up", "--", "true"], ["up", "--instances", "two"]],
    ids=" ".join,
)
def test_wrong_usage_ends_with_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: python -m deploy" in capsys.readouterr().err


def test_without_a_verb_they_are_listed_with_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert "usage: python -m deploy [-h] VERB" in shown
    verbs = ("up", "exec", "status", "logs", "smoke", "down", "render", "config-check", "diff", "devices", "bundle")
    for verb in (*verbs, "deploy-fleet", "rollback-fleet", "drain-fleet", "deploy", "rollback", "drain", "undeploy"):
        assert re.search(rf"^ +{verb}\s+[A-Z]\w+ ", shown, re.MULTILINE), verb


@pytest.mark.parametrize("verb", ["render", "config-check", "diff", "devices"])
def test_the_file_of_devices_is_explained_with_the_command_that_writes_it(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([verb, "--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert "ssh HOST /opt/framefleet/current/bin/framefleet devices > HOST.json" in words and "--devices FILE" in words


@pytest.mark.parametrize("verb", ["status", "smoke"])
def test_without_a_fleet_there_is_nothing_to_ask(tmp_path: Path, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--var", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"{tmp_path}: no fleet runs here; `make up` starts one\n"


@pytest.mark.parametrize("content", [None, b""], ids=["missing", "empty"])
def test_a_picture_that_will_not_do_is_said_before_a_fleet_is_looked_for(
    tmp_path: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / "picture.jpg"
    if content is not None:
        image.write_bytes(content)
    assert main(["smoke", "--var", str(tmp_path), "--image", str(image)]) == 2
    assert capsys.readouterr().err.startswith(f"--image {image}: ")


def test_down_without_a_fleet_is_done_and_creates_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["down", "--var", str(tmp_path / "var")]) == 0
    assert capsys.readouterr().out == f"nothing runs in {tmp_path / 'var'}\n"
    assert list(tmp_path.iterdir()) == []


def test_variables_that_the_fleet_owns_are_told_to_be_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FRAMEFLEET_PORT", "1")
    assert main(["render", "--var", str(tmp_path), "--out", str(tmp_path / "build"), *UP]) == 0
    assert "note: FRAMEFLEET_PORT is set, but a fleet gives every instance its own; ignored" in capsys.readouterr().out


@pytest.fixture
def fleet_file(tmp_path: Path) -> Path:
    file = tmp_path / "fleet.toml"
    folders = f'[folders]\netc = "{tmp_path}/etc"\n'
    file.write_text(f'{folders}[model]\nfile = "simulated:"\n' + hosts("cpu = 2", "gpus = [0]"))
    return file


def test_render_writes_each_hosts_files_into_its_folder(
    tmp_path: Path, fleet_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build = tmp_path / "build"
    assert main(["render", "--fleet", str(fleet_file), "--out", str(build)]) == 0
    listed = {Path(line) for line in capsys.readouterr().out.splitlines() if not line.startswith("note: ")}
    assert listed == {path for path in build.rglob("*") if path.is_file()}
    assert {build / "h1/supervisor/programs/cpu1.conf", build / "h2/systemd/framefleet.service"} <= listed


def test_config_check_reads_every_host(tmp_path: Path, fleet_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config-check", "--fleet", str(fleet_file), "--out", str(tmp_path / "build")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith("note: ")] == [
        "h1: nginx, supervisor and systemd accept the configuration of 2 instance(s)",
        "h2: nginx, supervisor and systemd accept the configuration of 1 instance(s)",
    ]


def test_diff_shows_what_would_change_here(
    tmp_path: Path, fleet_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["diff", "--fleet", str(fleet_file), "--host", "h1", "--release", "r1"]
    assert main(arguments) == 0
    assert "+++ wanted/supervisor/programs/cpu1.conf" in capsys.readouterr().out
    main(["render", *arguments[1:], "--out", str(tmp_path / "build")])
    (tmp_path / "build/h1").rename(tmp_path / "etc")
    (tmp_path / "etc" / "rendered").mkdir()
    for file in [path for path in (tmp_path / "etc").iterdir() if path.name != "rendered"]:
        file.rename(tmp_path / "etc/rendered" / file.name)
    capsys.readouterr()
    assert main(arguments) == 0
    assert "supervisor/supervisord.conf" not in capsys.readouterr().out


def test_devices_are_shown_as_other_machines_read_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices"]) == 0
    assert devices_from_json(capsys.readouterr().out).cpus
