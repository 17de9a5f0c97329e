"""Processes are recognised by marks of this fleet alone; the processes here are real, but for nginx's names."""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from deploy.machine.processes import (
    Listening,
    Process,
    balancer_processes,
    can_be_shared,
    connections_waiting,
    family,
    fleet_processes,
    is_stopped,
    listening_sockets,
    port_owner,
    serving_workers,
)
from deploy.paths import Paths, local_paths

SLEEP = "import sys, time; print(flush=True); time.sleep(600)"


@contextmanager
def sleeping(*arguments: str, environ: dict[str, str] | None = None) -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEP, *arguments], env={**os.environ, **(environ or {})}, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.kill()


@contextmanager
def holding(*sockets: socket.socket) -> Iterator[int]:
    numbers = [one.fileno() for one in sockets]
    with subprocess.Popen([sys.executable, "-c", SLEEP], pass_fds=numbers, stdout=subprocess.DEVNULL) as process:
        try:
            yield process.pid
        finally:
            process.kill()


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return local_paths(tmp_path / "var")


def test_supervisord_and_instances_are_found_and_others_are_not(paths: Paths, tmp_path: Path) -> None:
    socket = f"unix://{paths.supervisor_socket}"
    with ExitStack() as stack:
        supervisord = stack.enter_context(sleeping("-c", str(paths.supervisor_conf)))
        instance = stack.enter_context(sleeping(environ={"SUPERVISOR_SERVER_URL": socket}))
        stack.enter_context(sleeping(environ={"SUPERVISOR_SERVER_URL": socket + "2"}))
        stack.enter_context(sleeping("-c", str(local_paths(tmp_path / "var2").supervisor_conf)))
        stack.enter_context(sleeping(str(paths.state)))
        found = fleet_processes(paths)
    me = os.getpid()
    assert set(found) == {Process(supervisord, me, "supervisord"), Process(instance, me, "instance")}
    assert fleet_processes(paths) == ()


def fake_process(proc: Path, pid: int, parent: int, cmdline: str, opened: Path) -> None:
    folder = proc / str(pid)
    (folder / "fd").mkdir(parents=True)
    (folder / "fd" / "4").symlink_to(opened)
    (folder / "comm").write_text(cmdline.split(maxsplit=1)[0].rstrip(":") + "\n")
    (folder / "cmdline").write_text(cmdline.replace(" ", "\0"))
    (folder / "environ").write_text("")
    (folder / "stat").write_text(f"{pid} (a) name) S {parent} 1 1 0")


def test_nginx_is_found_with_and_without_its_master_and_others_are_not(paths: Paths, tmp_path: Path) -> None:
    proc, log = tmp_path / "proc", paths.log / "balancer-access.log"
    fake_process(proc, 10, 1, f"nginx: master process nginx -c {paths.nginx_conf}", log)
    fake_process(proc, 11, 10, "nginx: worker process", log)
    fake_process(proc, 20, 1, "nginx: worker process", log)
    fake_process(proc, 30, 1, "nginx: worker process", tmp_path / "another.log")
    fake_process(proc, 40, 1, f"tail -f {log}", log)
    (proc / "self").mkdir()
    expected = (Process(10, 1, "balancer"), Process(11, 10, "balancer"), Process(20, 1, "balancer"))
    assert fleet_processes(paths, proc) == balancer_processes(paths, proc) == expected


def test_workers_that_were_told_to_finish_serve_no_more(paths: Paths, tmp_path: Path) -> None:
    proc, log = tmp_path / "proc", paths.log / "balancer-access.log"
    fake_process(proc, 10, 1, f"nginx: master process nginx -c {paths.nginx_conf}", log)
    fake_process(proc, 11, 10, "nginx: worker process", log)
    fake_process(proc, 12, 10, "nginx: worker process", log)
    fake_process(proc, 13, 10, "nginx: worker process", log)
    (proc / "12" / "cmdline").write_text("nginx: worker process is shutting down")
    (proc / "13" / "cmdline").write_text("")  # as it is of any process for a moment while it ends
    assert serving_workers(paths, proc) == {11}


def test_a_process_that_ends_meanwhile_is_left_out(paths: Paths, tmp_path: Path) -> None:
    (tmp_path / "proc" / "7").mkdir(parents=True)
    assert fleet_processes(paths, tmp_path / "proc") == ()


def test_nobody_owns_a_free_port() -> None:
    assert port_owner(0) == ""


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.2"), (socket.AF_INET6, "::1")])
def test_sockets_are_counted_by_where_they_listen(family: int, host: str) -> None:
    with socket.socket(family) as one, socket.socket(family) as other, socket.socket(family) as silent:
        for member in (one, other, silent):
            member.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind((host, 0))
        port = one.getsockname()[1]
        other.bind((host, port))
        silent.bind((host, port))
        one.listen()
        other.listen()
        assert listening_sockets([os.getpid()])[Listening(host, port)] == 2
    assert listening_sockets([os.getpid()])[Listening(host, port)] == 0


def test_a_process_is_stopped_until_it_is_told_to_go_on() -> None:
    with sleeping() as pid:
        assert pid in family(os.getpid()) and not is_stopped(pid)
        os.kill(pid, signal.SIGSTOP)
        os.waitpid(pid, os.WUNTRACED)
        assert is_stopped(pid)
        os.kill(pid, signal.SIGCONT)
        os.waitpid(pid, os.WCONTINUED)
        assert not is_stopped(pid)
    assert not is_stopped(pid)


def test_connections_wait_where_a_process_watches_and_nowhere_else() -> None:
    with ExitStack() as stack:
        watched, other = (stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2))
        stack.enter_context(select.epoll()).register(watched.fileno(), select.EPOLLIN)
        for server in (watched, watched, other):
            stack.enter_context(socket.create_connection(server.getsockname()))
        master = stack.enter_context(holding(watched, other))
        # The kernel's list leaves one out now and then, where sockets of others come and go while it is read.
        assert {os.getpid(): 2, master: 1} in looks([os.getpid(), master])
        watched.accept()[0].close()
        assert {os.getpid(): 1, master: 1} in looks([os.getpid(), master])


def looks(pids: list[int]) -> Iterator[Mapping[int, int]]:
    return (connections_waiting(pids) for _ in range(5))


@pytest.mark.parametrize("reuse_port", [True, False])
def test_a_port_is_shared_only_by_who_asked_for_it(reuse_port: bool) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=reuse_port) as server:
        assert can_be_shared(Listening(*server.getsockname())) is reuse_port
