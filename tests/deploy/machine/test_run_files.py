"""Root works in folders of another user, who has put something else under the names it uses."""

import os
import socket
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.errors import ControlError
from deploy.files.nginx_files import loaded
from deploy.files.record import read_record, to_json
from deploy.guard.recovery import wait_for_recovery
from deploy.machine import run, run_files, run_host
from deploy.machine.control import Control, answers
from deploy.machine.logs import Tail, explain
from deploy.machine.machine import Machine
from deploy.machine.run import fleet_lock
from deploy.paths import Paths, local_paths
from deploy.rollout.recipes import down
from deploy.rollout.stopping import stop
from deploy.verbs.host_verbs import read_restarts
from tests.deploy.fleets import fleet_of
from tests.users import NOBODY, as_root

pytestmark = as_root

SECRET = '{"programs": [{"name": "root:SECRET", "restarts": 7}]}\n'
RUN_FILES = ("winding_down", "nginx_loaded", "programs_json", "programs_prom")
Plant = Callable[[Path, Path], None]
QUIET = Machine(say=lambda line: None)


def file_link(place: Path, target: Path) -> None:
    place.symlink_to(target)


def dangling_link(place: Path, target: Path) -> None:
    place.symlink_to(target.with_name("new"))


def folder_link(place: Path, target: Path) -> None:
    place.symlink_to(target.parent)


def second_name(place: Path, target: Path) -> None:
    os.link(target, place)


def fifo(place: Path, target: Path) -> None:
    os.mkfifo(place)


PLANTS = [pytest.param(each, id=each.__name__) for each in (file_link, dangling_link, folder_link, second_name, fifo)]


@pytest.fixture
def target(open_folder: Path) -> Path:
    """A file of root's in a folder of root's."""
    folder = open_folder / "root"
    folder.mkdir(mode=0o700)
    (folder / "secret").write_text(SECRET)
    (folder / "secret").chmod(0o600)
    return folder / "secret"


@pytest.fixture
def paths(open_folder: Path) -> Paths:
    """A host's: state and configuration are root's, run and log another user's."""
    made = local_paths(open_folder / "host")
    for folder in made.folders():
        folder.mkdir(parents=True)
    for folder in (made.run, made.log, made.tmp):
        os.chown(folder, NOBODY, NOBODY)
    return made


def untouched(target: Path) -> bool:
    found = target.stat()
    names = {path.name for path in target.parent.iterdir()}
    return (target.read_text(), found.st_mode & 0o777, found.st_uid, names) == (SECRET, 0o600, 0, {"secret"})


def planted(plant: Plant, place: Path, target: Path) -> Path:
    plant(place, target)
    if plant is not second_name:
        os.lchown(place, NOBODY, NOBODY)
    return target


@pytest.mark.parametrize("plant", PLANTS)
def test_what_root_writes_takes_the_place_of_what_was_planted(plant: Plant, paths: Paths, target: Path) -> None:
    for name in RUN_FILES:
        place: Path = getattr(paths, name)
        planted(plant, place, target)
        for guess in (f".{place.name}.{os.getpid()}", f".{place.name}.new"):
            planted(plant, paths.run / guess, target)
        run.write_text(place, "ours")
        assert (place.is_symlink(), place.read_text()) == (False, "ours")
    assert untouched(target)


@pytest.mark.parametrize("plant", PLANTS)
def test_what_is_planted_for_root_to_read_is_neither_shown_nor_waited_for(
    plant: Plant, paths: Paths, target: Path
) -> None:
    for place in (paths.nginx_loaded, paths.programs_json, paths.log_of("cpu0"), paths.record):
        planted(plant, place, target)
    os.chown(paths.etc, NOBODY, NOBODY)
    with pytest.raises(ControlError) as refused:
        read_record(paths)
    shown = [loaded(paths), str(read_restarts(paths.programs_json)), explain(paths.log_of("cpu0"), 0), str(refused)]
    tail = Tail(paths.log_of("cpu0"), 10)
    shown += [*tail.read(), *tail.read()]
    tail.close()
    assert "SECRET" not in " ".join(shown)
    assert f"then remove it: rm -r {paths.log_of('cpu0')}" in " ".join(shown)


@pytest.mark.parametrize("plant", PLANTS)
def test_no_lock_and_no_log_is_written_through_what_was_planted(plant: Plant, paths: Paths, target: Path) -> None:
    planted(plant, paths.run / "lock", target)
    with pytest.raises((ControlError, OSError), match="lock"), fleet_lock(paths, "testing"):
        pass
    planted(plant, paths.log_of("deploy"), target)
    said: list[str] = []
    say = run_host.to_terminal_and_log(said.append, paths.log_of("deploy"))
    say("a line")
    say("another")
    assert (said[0], said[2:]) == ("a line", ["another"])
    assert said[1].startswith(f"note: this is not kept: {paths.log_of('deploy')}: ")
    assert untouched(target)


@pytest.mark.parametrize("plant", PLANTS)
def test_stopping_and_clearing_away_leaves_what_links_lead_to(plant: Plant, paths: Paths, target: Path) -> None:
    names = ("supervisor_pid", "nginx_pid", "quarantine", *RUN_FILES)
    for name in names:
        planted(plant, getattr(paths, name), target)
    (paths.log / "deep").mkdir()
    for place in (paths.log / "a.log", paths.log / "deep" / "b.log"):
        planted(plant, place, target)
    (paths.log / "own.log").touch()
    os.chown(paths.log / "own.log", NOBODY, NOBODY)
    stop(paths, QUIET)
    assert [name for name in names if os.path.lexists(getattr(paths, name))] == []
    run_files.take_over(paths.log)
    assert (paths.log.stat().st_uid, (paths.log / "own.log").stat().st_uid) == (0, 0)
    assert untouched(target)


def test_a_folder_that_was_swapped_for_a_link_is_refused_by_all_that_root_does_in_it(
    paths: Paths, target: Path
) -> None:
    os.chown(paths.state, NOBODY, NOBODY)
    paths.run.rmdir()
    planted(folder_link, paths.run, target)
    (target.parent / "winding-down").write_text("theirs")
    for act in (
        lambda: run.write_text(paths.winding_down, ""),
        lambda: run.remove(paths.winding_down),
        lambda: run_files.make_folder(paths.run / "deeper"),
        lambda: run_files.give(paths.run, NOBODY, NOBODY, 0o777),
        lambda: loaded(paths) and None,
        lambda: run.make_folders(paths),
        lambda: fleet_lock(paths, "testing").__enter__() and None,
        lambda: answers(paths) and None,
    ):
        try:
            act()
        except ControlError as error:
            assert str(paths.state) in str(error)
    (target.parent / "winding-down").unlink()
    assert target.parent.stat().st_uid == 0 and target.parent.stat().st_mode & 0o777 == 0o700
    assert untouched(target)


def test_roots_orders_reach_no_socket_that_a_link_leads_to(paths: Paths, target: Path) -> None:
    place = target.with_name("other.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place))
        server.listen()
        server.settimeout(0)
        planted(file_link, paths.supervisor_socket, place)
        with pytest.raises(ControlError, match=r"supervisor\.sock: is a link, and another user .* rm -r "):
            answers(paths)
        with pytest.raises(ControlError), Control(paths, 1.0) as control:
            control.shutdown()
        with pytest.raises(BlockingIOError):
            server.accept()
        paths.supervisor_socket.unlink()
        os.rename(place, paths.supervisor_socket)
        assert answers(paths)


def test_links_that_root_put_into_its_own_folders_are_followed(paths: Paths, open_folder: Path) -> None:
    moved = replace(paths, run=open_folder / "moved")
    moved.run.symlink_to(paths.run)
    run.write_text(moved.nginx_loaded, "digest")
    assert (loaded(moved), paths.nginx_loaded.read_text()) == ("digest", "digest")
    (open_folder / "note").write_text("text")
    (paths.state / "note").symlink_to("../note")
    assert run_files.read_state(paths.state / "note") == "text"


@pytest.mark.parametrize("plant", PLANTS)
def test_a_folder_of_roots_that_everybody_may_write_to_is_no_safer(
    plant: Plant, open_folder: Path, target: Path
) -> None:
    shared = open_folder / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    planted(plant, shared / "note", target)
    with pytest.raises(ControlError, match="note: "):
        run_files.open_to_append(shared / "note").close()
    with pytest.raises(ControlError, match="note: "):
        run_files.read_state(shared / "note")
    run_files.remove(shared / "note")
    assert untouched(target)


def test_an_owner_of_a_log_is_not_kept_from_it_by_a_second_name(paths: Paths) -> None:
    log = paths.log_of("cpu0")
    log.write_text("theirs\n")
    os.chown(log, NOBODY, NOBODY)
    subprocess.run(["cp", "-al", log, paths.state / "snapshot.log"], check=True)
    assert explain(log, 0) == "theirs"


@pytest.mark.parametrize("plant", PLANTS)
def test_root_asks_nobody_elses_lock_who_works_on_a_fleet(plant: Plant, paths: Paths, target: Path) -> None:
    planted(plant, paths.run / "lock", target)
    (paths.run / "supervisord.pid").touch()
    for act in (lambda: down(paths, QUIET), lambda: wait_for_recovery(paths, QUIET)):
        with pytest.raises(ControlError, match="lock: "):
            act()
    assert untouched(target)


def nested(folder: Path, depth: int = 1100) -> Path:
    """Makes a folder in a folder in a folder ... that no path can name, with a file of another user's at the end."""
    folder.mkdir()
    here = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("deep", dir_fd=here)
        below = os.open("deep", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("end", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.fchown(here, NOBODY, NOBODY)
    os.close(here)
    return folder


def test_folders_nested_deeper_than_any_path_keep_root_from_nothing(paths: Paths) -> None:
    nested(paths.quarantine)
    run_files.take_over(paths.run)
    stop(paths, QUIET)
    assert not paths.quarantine.exists()


def test_files_without_an_end_do_not_fill_roots_memory(paths: Paths) -> None:
    log = paths.log_of("cpu0")
    log.write_text("first\n")
    tail = Tail(log, 10)
    assert tail.read() == ["first"]
    for endless in (log, paths.record, paths.programs_json):
        with endless.open("ab") as file:
            file.truncate(2**40)
        os.chown(endless, NOBODY, NOBODY)
    with pytest.raises(ControlError, match="not a fleet"):
        read_record(paths)
    shown = [tail.read(), tail.read(), read_restarts(paths.programs_json)]
    log.unlink()
    log.symlink_to(log.name)
    assert tail.read() == []
    tail.close()
    assert shown == [[], [], {}]


@pytest.mark.parametrize("text", ["[" * 500_000, '{"programs": [{"name": "a", "restarts": 1e999}]}'])
def test_what_the_service_notes_for_the_status_cannot_end_it(paths: Paths, text: str) -> None:
    paths.programs_json.write_text(text)
    assert read_restarts(paths.programs_json) == {}


def test_a_record_of_another_user_names_no_key_that_root_sends(paths: Paths) -> None:
    fleet = replace(fleet_of(), own_key=Path("/etc/framefleet/own.key"))
    paths.record.write_text(to_json(fleet))
    assert read_record(paths) == fleet
    os.chown(paths.record, NOBODY, NOBODY)
    assert read_record(paths) == replace(fleet, own_key=None)
