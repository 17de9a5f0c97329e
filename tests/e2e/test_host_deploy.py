"""A host is deployed to, changed, rolled back and cleared, with everything real but systemd."""

import os
import re
import signal
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from deploy.machine import run
from deploy.machine.processes import fleet_processes
from deploy.rollout.history import read_history
from tests.e2e.fleet import direct_session, wait_for_line, wait_until
from tests.e2e.host import ROOT, ScratchHost, scratch_host
from tests.e2e.load import steady_load
from tests.users import NOBODY, as_root

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not os.access("/run", os.W_OK), reason="a host keeps its sockets below /run: needs root"),
]

AT_ONCE = "\nraise ImportError('no module for this')\n"
ON_CPU1 = "\nif settings.instance == 'cpu1':\n    raise ImportError('cpu1 cannot have this')\n"
ELSEWHERE = """
from service.server.worker import DetectorWorker

class worker_class(DetectorWorker):
    def listen(self):
        object.__setattr__(self.settings, "port", self.settings.port + 7)
        super().listen()
"""
LATER = """
import os
import threading

threading.Timer(1.5, lambda: os._exit(5)).start()
"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[ScratchHost]:
    with scratch_host(tmp_path) as scratch:
        yield scratch


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, picture: bytes) -> Iterator[ScratchHost]:
    with scratch_host(tmp_path_factory.mktemp("host")) as host:
        code, shown = host.deploy(host.make_release(picture), host.inventory())
        assert code == 0, shown
        yield host


@pytest.fixture
def deployed(shared: ScratchHost) -> ScratchHost:
    """A host that serves some release of two instances; each test leaves it so."""
    return shared


def releases(host: ScratchHost) -> dict[str, str]:
    """The release each instance says it is of."""
    with direct_session() as session:
        asked = {
            f"cpu{n}": session.get(f"http://127.0.0.1:{host.port + 1 + n}/readyz", timeout=5).json() for n in (0, 1)
        }
    return {name: answer["release"] for name, answer in asked.items()}


def lines(shown: str, *starts: str) -> list[str]:
    return [line for line in shown.splitlines() if line.startswith(starts)]


def make_certificate(folder: Path) -> Path:
    command = ("make", "certificate", "NAME=here", "ADDRESS=127.0.0.4", f"VAR={folder}")
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder / "tls/fullchain.pem"


def served_certificate(port: int) -> str:
    return ssl.get_server_certificate(("127.0.0.4", port), timeout=10)


def test_the_next_deploy_lets_nginx_read_a_renewed_certificate(host: ScratchHost, picture: bytes) -> None:
    chain, port = make_certificate(host.folder), host.port + 6
    tls = f'[tls]\ncertificate = "{chain}"\nkey = "{chain.with_name("key.pem")}"\nport = {port}\n[[hosts]]'
    inventory = host.inventory().replace('address = "127.0.0.1"', 'address = "127.0.0.4"').replace("[[hosts]]", tls)
    release = host.make_release(picture)
    code, shown = host.deploy(release, inventory)
    assert code == 0, shown
    assert served_certificate(port) == chain.read_text()
    before = host.pids()
    make_certificate(host.folder)
    assert served_certificate(port) != chain.read_text()
    code, shown = host.deploy(release)
    assert (code, lines(shown, "reload"), host.pids()) == (0, ["reload balancer"], before)
    assert served_certificate(port) == chain.read_text()
    assert host.deploy(release)[1].rstrip().endswith("nothing had to change")


def test_a_second_deploy_touches_nothing_and_says_so(deployed: ScratchHost) -> None:
    before = deployed.pids()
    code, shown = deployed.deploy(deployed.current())
    assert (code, deployed.pids()) == (0, before)
    assert shown.rstrip().endswith("nothing had to change")
    assert "trial" not in shown and "reload" not in shown


def test_a_new_release_and_the_way_back_lose_no_request(deployed: ScratchHost, picture: bytes) -> None:
    first = deployed.current()
    second = deployed.make_release(picture)
    with steady_load(deployed.url, picture) as load:
        load.wait_for_answers(50)
        code, shown = deployed.deploy(second)
        assert (code, set(releases(deployed).values())) == (0, {second}), shown
        back = deployed.verb(second, "rollback")
        load.wait_for_answers(50)
    assert load.failures == []
    assert (back.returncode, set(releases(deployed).values())) == (0, {first}), back.stdout
    assert (deployed.current(), (deployed.install / "previous").readlink().name) == (first, second)
    assert sorted(lines(shown, "replace")) == ["replace cpu0", "replace cpu1"]


def test_a_changed_setting_is_the_only_thing_that_changes(deployed: ScratchHost) -> None:
    inventory = (deployed.folder / "etc" / "fleet.toml").read_text()
    before = deployed.pids()
    more = inventory.replace("[[hosts]]", '[monitoring]\noperators = ["10.0.0.0/8"]\n[[hosts]]')
    code, shown = deployed.deploy(deployed.current(), more)
    assert (code, lines(shown, "replace", "reload")) == (0, ["reload balancer"]), shown
    assert {name: deployed.pids()[name] for name in ("cpu0", "cpu1", "balancer")} == {
        name: before[name] for name in ("cpu0", "cpu1", "balancer")
    }
    assert (deployed.folder / "etc" / "fleet.toml").read_text() == more
    assert inventory == (deployed.folder / "etc" / "fleet.toml.replaced").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"service/wsgi.py": AT_ONCE}, "no module for this", id="will not import"),
        pytest.param({"service/server/gunicorn.conf.py": ELSEWHERE}, "listens on port", id="wrong port"),
        pytest.param(
            {"service/pipeline/batcher.py": "\nraise EngineFault('the self-test failed')\n"},
            "the self-test failed",
            id="self-test fails",
        ),
        pytest.param({"service/app.py": LATER}, "with code", id="dies later"),
    ],
)
def test_a_broken_release_is_found_before_anything_is_touched(
    deployed: ScratchHost, picture: bytes, changes: dict[str, str], message: str
) -> None:
    before, current = deployed.pids(), deployed.current()
    broken = deployed.make_release(picture, changes)
    code, shown = deployed.deploy(broken)
    assert code == 1
    assert message in shown.splitlines()[-1], shown
    assert shown.splitlines()[-1].startswith(f"release {broken}: its ")
    assert (deployed.pids(), deployed.current()) == (before, current)


def test_a_model_that_is_garbage_is_found_before_anything_is_touched(deployed: ScratchHost) -> None:
    before = deployed.pids()
    model = deployed.paths.model("0" * 64, "garbage.onnx")
    inventory = deployed.inventory(model="garbage.onnx").replace("[settings]", f'sha256 = "{"0" * 64}"\n[settings]')
    model.parent.mkdir(parents=True)
    model.write_bytes(b"garbage")
    code, shown = deployed.deploy(deployed.current(), inventory)
    assert code == 1
    assert shown.splitlines()[-1] == f"model {model}: missing or damaged; deploy a bundle that has it"
    assert deployed.pids() == before


def test_what_fails_only_in_its_place_is_taken_back(deployed: ScratchHost, picture: bytes) -> None:
    first = deployed.current()
    broken = deployed.make_release(picture, {"service/server/gunicorn.conf.py": ON_CPU1})
    with steady_load(deployed.url, picture) as load:
        load.wait_for_answers(50)
        code, shown = deployed.deploy(broken)
        load.wait_for_answers(50)
    assert code == 1
    assert load.failures == []
    assert "cpu1 cannot have this" in shown.splitlines()[-1]
    assert lines(shown, "back:", "== back") == [
        f"== back: to release {first}",
        f"back: release {first} serves as before",
    ]
    assert (set(releases(deployed).values()), deployed.current()) == ({first}, first)
    assert read_history(deployed.install / "deployed.json").pending is None


def test_a_first_deploy_that_fails_leaves_nothing_running(host: ScratchHost, picture: bytes) -> None:
    broken = host.make_release(picture, {"service/server/gunicorn.conf.py": ON_CPU1})
    code, shown = host.deploy(broken, host.inventory())
    assert code == 1
    assert "cpu1 cannot have this" in shown.splitlines()[-1]
    assert fleet_processes(host.paths) == ()
    assert not (host.install / "framefleet.service").exists() and not (host.install / "current").exists()
    code, shown = host.deploy(host.make_release(picture), host.inventory())
    assert code == 0, shown


def test_the_second_of_two_deploys_is_told_who_holds_the_lock(deployed: ScratchHost, picture: bytes) -> None:
    second = deployed.make_release(picture)
    command = deployed.command(second, "deploy")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as first:
        try:
            wait_for_line(first, "== trial")
            code, shown = deployed.deploy(second)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(first.pid, signal.SIGKILL)
    assert code == 1
    assert re.search(
        rf"deploy.lock: busy with deploying release {second} by \S+ \(pid {first.pid}\), since \d+ s", shown
    )


# The first line of each kind: where the first instance is replaced, where it is ready, where all of them are.
@pytest.mark.parametrize("step", ["== prepare", "== trial", "== switch", "replace", "  cpu", "watching"])
def test_after_a_deploy_that_died_the_next_one_converges(deployed: ScratchHost, picture: bytes, step: str) -> None:
    release = deployed.make_release(picture)
    code, shown = deployed.deploy(release, died_at=step)
    assert code == 9, shown
    code, shown = deployed.deploy(release)
    assert code == 0, shown
    assert "did not end; going on from what runs" in shown
    assert (set(releases(deployed).values()), deployed.current()) == ({release}, release)
    assert read_history(deployed.install / "deployed.json").pending is None


def test_after_a_power_cut_in_a_deploy_a_rollback_brings_back_what_was_whole(
    deployed: ScratchHost, picture: bytes
) -> None:
    first = deployed.current()
    release = deployed.make_release(picture)
    assert deployed.deploy(release, died_at="  cpu")[0] == 9
    cut_the_power(deployed)
    done = deployed.verb(first, "rollback")
    assert done.returncode == 0, done.stdout
    assert f"the deploy of release {release}" in done.stdout
    assert (set(releases(deployed).values()), deployed.current()) == ({first}, first)


def test_draining_a_host_changes_the_balancer_alone(host: ScratchHost, picture: bytes) -> None:
    inventory = host.inventory().replace("port = ", 'mode = "edge"\nhosts = ["here"]\nport = ', 1)
    inventory += '[[hosts]]\nname = "there"\naddress = "127.0.0.2"\ncpu = 1\n'
    release = host.make_release(picture)
    code, shown = host.deploy(release, inventory, "--host", "here")
    assert code == 0, shown
    before = host.pids()
    upstream = host.paths.etc / "nginx/snippets/upstream.conf"
    assert " down;" not in upstream.read_text()
    done = host.verb(release, "drain", "there")
    assert (done.returncode, lines(done.stdout, "replace", "reload")) == (0, ["reload balancer"]), done.stdout
    assert " down;" in upstream.read_text()
    assert host.pids() == before
    assert "nothing had to change" in host.deploy(release)[1]
    assert host.verb(release, "undrain", "there").returncode == 0
    assert " down;" not in upstream.read_text()
    assert "not in the inventory" in host.verb(release, "drain", "nowhere").stdout


def test_status_shows_each_program_and_what_it_does(deployed: ScratchHost) -> None:
    done = deployed.verb(deployed.current(), "status")
    assert done.returncode == 0, done.stdout
    header, *rows = (re.split(r"\s{2,}", line) for line in done.stdout.splitlines())
    assert header == ["PROGRAM", "GPU", "RELEASE", "STATE", "UPTIME", "RESTARTS", "RATE", "P95", "READY"]
    assert [(row[0], row[1], row[2], row[-1]) for row in rows] == [
        ("cpu0", "cpu", deployed.current(), "yes"),
        ("cpu1", "cpu", deployed.current(), "yes"),
        ("balancer", "-", deployed.current(), "yes"),
        ("reviver", "-", "-", "yes"),
    ]


@as_root
def test_no_verb_follows_what_the_services_user_planted(deployed: ScratchHost, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("root:SECRET")
    inventory = (deployed.folder / "etc" / "fleet.toml").read_text()
    paths = deployed.paths
    for folder in (paths.run, paths.log):
        os.chown(folder, NOBODY, NOBODY)
    kept = paths.log_of("deploy").rename(paths.log / "kept")
    links = (paths.nginx_loaded, paths.winding_down, paths.log_of("deploy"), paths.log_of("planted"))
    for link in links:
        link.unlink(missing_ok=True)
        link.symlink_to(secret)
        os.lchown(link, NOBODY, NOBODY)
    shown = [deployed.verb(deployed.current(), verb).stdout for verb in ("status", "smoke")]
    logs = deployed.verb(deployed.current(), "logs", "--no-follow").stdout
    assert f" | {paths.log_of('planted')}: is a link, and another user than root may have put it there" in logs
    code, changed = deployed.deploy(deployed.current(), inventory.replace("[ports]", "[limits]\nrate = 900\n[ports]"))
    assert (code, lines(changed, "reload")) == (0, ["reload balancer"]), changed
    code, back = deployed.deploy(deployed.current(), inventory)
    assert code == 0, back
    assert (secret.read_text(), secret.stat().st_uid) == ("root:SECRET", 0)
    assert "SECRET" not in "".join([*shown, logs, changed, back])
    paths.log_of("planted").unlink()
    kept.replace(paths.log_of("deploy"))


def test_undeploy_leaves_nothing_but_logs(deployed: ScratchHost) -> None:
    (deployed.folder / "etc" / "tls").mkdir()
    done = deployed.verb(deployed.current(), "undeploy")
    assert done.returncode == 0, done.stdout
    assert fleet_processes(deployed.paths) == ()
    assert {path.name for path in deployed.folder.iterdir()} == {"etc", "log", "given.toml"}
    assert [path.name for path in (deployed.folder / "etc").iterdir()] == ["tls"]
    assert not deployed.run.exists()


def cut_the_power(host: ScratchHost) -> None:
    """Nothing that runs gets to say goodbye, and /run is empty afterwards."""

    def gone() -> bool:
        for process in fleet_processes(host.paths):
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        return fleet_processes(host.paths) == ()

    wait_until("every process is dead", gone)
    run.remove(*host.run.iterdir())
