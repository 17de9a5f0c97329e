"""What an instance needs of its machine: its port, its model file, disk, file descriptors, and its clock."""

import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

from chaos.faults.stage import LIMIT_S, Stage, kill, kill_master_of, wait, wait_gone, wait_nginx
from chaos.machine import starve_of_descriptors
from chaos.rehearsal import ChaosError

HOUR_S, MINUTE_S = 3600, 60
MODEL_GARBAGE = b"garbage"
# So long no new nginx can start.
WITHOUT_S = 5.0


def garbage_model(stage: Stage) -> Iterator[None]:
    """The model file is replaced by garbage, and an instance is killed."""
    model = Path(stage.fleet.model)
    good, bad = model.with_suffix(".good"), model.with_suffix(".bad")
    shutil.copy(model, good)
    bad.write_bytes(MODEL_GARBAGE * 1000)
    bad.replace(model)
    try:
        kill(stage.fleet.worker(stage.chosen))
        log = stage.fleet.log / f"{stage.chosen.name}.log"
        before = log.stat().st_size
        wait("a refused start", lambda: b"cannot start:" in log.read_bytes()[before:])
        yield
    finally:
        good.replace(model)


def taken_port(stage: Stage) -> Iterator[None]:
    """An instance is killed, and a stranger listens on its port, who closes every connection."""
    port = int(stage.chosen.url.rpartition(":")[2])
    kill_master_of(stage)
    with _stranger(port) as stranger:
        end = time.monotonic() + 8
        while time.monotonic() < end:
            stranger.settimeout(0.2)
            try:
                stranger.accept()[0].close()
            except TimeoutError:
                continue
    yield


def full_disk(stage: Stage) -> Iterator[None]:
    """The disk of logs and temporary files is full."""
    with _filled(stage, "log", "tmp"):
        kill(stage.fleet.worker(stage.chosen))
        time.sleep(10)
        yield


def full_disk_and_no_nginx(stage: Stage) -> Iterator[None]:
    """The disk of logs, temporary files and notes is full, and the nginx master is killed."""
    master = stage.fleet.pid_of("nginx")
    with _filled(stage, "log", "tmp", "run"):
        kill(master)
        time.sleep(WITHOUT_S)
    yield
    wait_nginx(stage, master)


def nginx_that_cannot_start(stage: Stage) -> Iterator[None]:
    """The nginx master is killed while its configuration on the disk is broken; then the file is put right."""
    config = stage.fleet.var / "etc" / "nginx" / "nginx.conf"
    good, master = config.read_text(), stage.fleet.pid_of("nginx")
    config.write_text(f"{good}\nno_such_directive on;\n")
    try:
        kill(master)
        time.sleep(WITHOUT_S)
    finally:
        config.write_text(good)
    yield
    wait_nginx(stage, master)


def no_descriptors(stage: Stage) -> Iterator[None]:
    """An instance may open no file more than it has."""
    worker = stage.fleet.worker(stage.chosen)
    starve_of_descriptors(worker)
    yield
    # The next connection it cannot accept ends it, and its successor has the old limit.
    wait_gone(worker)


def clock_jumps(stage: Stage) -> Iterator[None]:
    """The clock jumps an hour ahead, then two back, and an instance is killed each time; then it is right again."""
    for offset_s in (HOUR_S, -HOUR_S):
        stage.fleet.set_clock(offset_s)
        # supervisord and gunicorn look at their clocks every second.
        time.sleep(3)
        # The reviver may have held back one that died too often in this matrix.
        wait("every instance answers", stage.fleet.ready)
        kill(stage.fleet.worker(stage.chosen))
        wait("supervisord's log has the new time", partial(_is_logged, stage, offset_s))
    stage.fleet.set_clock(0)
    yield


def _is_logged(stage: Stage, offset_s: int) -> bool:
    last = (stage.fleet.log / "supervisord.log").read_text().splitlines()[-1]
    ahead_s = (datetime.strptime(last[:19], "%Y-%m-%d %H:%M:%S") - datetime.now()).total_seconds()
    return abs(ahead_s - offset_s) < MINUTE_S


@contextmanager
def _filled(stage: Stage, *folders: str) -> Iterator[None]:
    if not stage.small_disk:
        raise ChaosError("not tried: only root can give logs a disk of their own")
    with ExitStack() as stack:
        for folder in folders:
            filler = stage.fleet.var / folder / "filler"
            stack.callback(filler.unlink)
            _fill(filler)
        yield


@contextmanager
def _stranger(port: int) -> Iterator[socket.socket]:
    deadline = time.monotonic() + LIMIT_S
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        while True:
            try:
                stranger.bind(("127.0.0.1", port))
                stranger.listen()
            except OSError:
                if time.monotonic() > deadline:
                    raise ChaosError(f"port {port} was never free for a stranger") from None
            else:
                yield stranger
                return


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(2**16))
        except OSError:
            return
