"""Files that run as code are loaded only from where nobody else can have put them."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from service.engines import trusted
from service.engines.trusted import code_group, code_owners, trusted_file
from service.errors import StartError
from tests.instance import start_instance, stop_instance
from tests.service.engines.trt_machine import Machine

ME = frozenset({0, os.getuid()})
SOMEBODY_ELSE = frozenset({os.getuid() + 1})


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    path = tmp_path / "models" / "best.engine"
    path.parent.mkdir()
    path.write_bytes(b"engine")
    path.chmod(0o640)
    return path


def refusal(path: Path, owners: frozenset[int] = ME) -> str:
    with pytest.raises(StartError) as caught:
        trusted_file(path, "FRAMEFLEET_MODEL", owners)
    assert str(caught.value).startswith(f"FRAMEFLEET_MODEL: {path.resolve()} runs as code, but ")
    assert "FRAMEFLEET_TRUST_ANY_PATH=1" in str(caught.value)
    return str(caught.value)


def test_what_only_its_owner_may_write_is_trusted(engine: Path) -> None:
    assert trusted_file(engine, "FRAMEFLEET_MODEL", ME) == engine


@pytest.mark.parametrize("mode", [0o660, 0o646, 0o666, 0o1646], ids=oct)
def test_a_file_that_others_may_write_is_refused(engine: Path, mode: int) -> None:
    engine.chmod(mode)
    assert f"{engine} may be written by others than its owner (mode {mode:o})" in refusal(engine)


@pytest.mark.parametrize("mode", [0o770, 0o757], ids=oct)
@pytest.mark.parametrize("up", [0, 1])
def test_so_is_one_below_a_folder_that_others_may_write(engine: Path, mode: int, up: int) -> None:
    folder = engine.parents[up]
    folder.chmod(mode)
    try:
        assert f"{folder} may be written by others" in refusal(engine)
    finally:
        folder.chmod(0o700)


def test_a_sticky_folder_is_fine_since_others_cannot_replace_what_is_in_it(engine: Path) -> None:
    engine.parent.chmod(0o1777)
    assert trusted_file(engine, "FRAMEFLEET_MODEL", ME) == engine


def test_what_belongs_to_somebody_else_is_refused(engine: Path) -> None:
    assert f"{engine} belongs to user {os.getuid()}, not to root or" in refusal(engine, SOMEBODY_ELSE)


def test_so_is_a_file_below_somebody_elses_folder(engine: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(engine.parent, 12_345, 12_345)
    assert f"{engine.parent} belongs to user 12345" in refusal(engine)


def test_it_is_the_file_behind_a_link_that_counts(engine: Path, tmp_path: Path) -> None:
    link = tmp_path / "current.engine"
    link.symlink_to(engine)
    assert trusted_file(link, "FRAMEFLEET_MODEL", ME) == engine
    engine.parent.chmod(0o777)
    assert f"{engine.parent} may be written" in refusal(link)


def test_without_owners_everything_is_trusted(engine: Path) -> None:
    engine.chmod(0o666)
    assert trusted_file(engine, "FRAMEFLEET_MODEL", None) == engine


def test_who_may_write_this_code_may_write_engines(repo_root: Path) -> None:
    assert code_owners() == {0, (repo_root / "service/engines/trusted.py").stat().st_uid}


def test_a_group_that_may_write_this_code_may_write_engines(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a checkout that was made with a umask of 002, which Ubuntu gives its users."""
    engine.chmod(0o660)
    engine.parent.chmod(0o775)
    monkeypatch.setattr(trusted, "code_group", lambda: engine.stat().st_gid)
    assert trusted_file(engine, "FRAMEFLEET_MODEL", ME) == engine
    engine.chmod(0o662)
    assert "may be written by others" in refusal(engine)
    monkeypatch.setattr(trusted, "code_group", lambda: engine.stat().st_gid + 1)
    engine.chmod(0o660)
    assert "may be written by others" in refusal(engine)


def test_the_code_here_has_a_group_only_where_that_may_write_it(repo_root: Path) -> None:
    code = (repo_root / "service/engines/trusted.py").stat()
    assert code_group() == (code.st_gid if code.st_mode & 0o020 else None)


@pytest.mark.parametrize("what", ["engine", "plugin"])
def test_an_engine_loads_neither_file_nor_plugin_from_where_others_may_write(machine: Machine, what: str) -> None:
    model = machine.write("tensorrtx 6", plugin="mine.so")
    (model if what == "engine" else machine.folder / "mine.so").chmod(0o666)
    with pytest.raises(StartError, match="may be written by others"):
        machine.engine(model, owners=ME).__enter__()
    assert machine.device.log == ["load libcuda.so.1"]
    with machine.engine(model, owners=None) as engine:
        assert engine.info.model == "cells"


@pytest.mark.parametrize("setting", [{}, {"trust_any_path": 1}], ids=["by default", "trusting"])
def test_a_real_instance_says_so_in_one_line(
    setting: dict[str, object], free_port: Callable[[], int], tmp_path: Path
) -> None:
    model = Machine(tmp_path).write()
    model.chmod(0o666)
    worker = "tests.service.engines.trt_worker.TrtWorker"
    instance = start_instance(free_port(), model, tmp_path / "log", worker, **setting)
    try:
        if setting:
            instance.wait_until_ready()
            return
        assert instance.process.wait(60) != 0
    finally:
        stop_instance(instance)
    lines = [line for line in instance.log.read_text().splitlines() if line.startswith("cannot start: ")]
    assert len(lines) == 1 and "runs as code, but" in lines[0]
