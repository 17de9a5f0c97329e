"""Machines for recipes: files are written for once, everything else is only noted down."""

import getpass
import grp
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import requests

from deploy.errors import ControlError, Problem
from deploy.files.nginx_files import digest
from deploy.files.record import read_record
from deploy.files.render import render
from deploy.fleet import Code, Fleet
from deploy.machine import run, run_files, run_host
from deploy.machine.control import Changes
from deploy.machine.processes import Process
from deploy.machine.target import Target
from deploy.release import TEST_PICTURE, release_of
from tests.deploy.fleets import MACHINE, fleet_of
from tests.deploy.recorded import NO_CHANGES, Answers, RecordedMachine, Supervisord, recorded

# Those that only ask are left out of what tests compare: what is done with the answer shows.
QUERIES = {"supervisord_listens", "lock_holder", "processes", "control", "open_session", "devices", "ports_of_session"}


def remove(*paths: Path) -> None:
    """Removes what tests made; a recipe that names a real host's folders has gone wrong."""
    assert all(path.is_relative_to("/tmp") or "framefleet-test-" in str(path) for path in paths), paths
    run_files.remove(*paths)


FILES: Mapping[str, Callable[..., object]] = {
    "write_text": run_files.write_text,
    "write_files": run.write_files,
    "replace_etc": run.replace_etc,
    "make_folders": run.make_folders,
    "make_host_folders": run_host.make_folders,
    "remove": remove,
    "remove_if_empty": run_host.remove_if_empty,
    "point": run_host.point,
}


def local_fleet(folder: Path, release: str = "dev") -> Fleet:
    """A fleet of two instances on a machine that has an nginx."""
    return fleet_of(var=folder / "var", machine=replace(MACHINE, nginx=nginx_in(folder)), release=release)


def nginx_in(folder: Path) -> Path:
    nginx = folder / "nginx"
    nginx.touch(0o755)
    return nginx


def put_in_place(fleet: Fleet) -> None:
    """Leaves the files of a fleet as an earlier start did."""
    files = render(fleet)
    run.make_folders(fleet.paths)
    run.replace_etc(fleet.paths, files)
    fleet.paths.nginx_loaded.write_text(digest(files))


def machine_with(
    fleet: Fleet,
    *,
    runs: bool = False,
    changes: Changes = NO_CHANGES,
    broken: Sequence[str] = (),
    wrong: Sequence[str] = (),
    said: list[str] | None = None,
) -> RecordedMachine:
    """A machine whose supervisord does what it is told, and whose instances answer.

    Args:
        fleet: what is wanted; it names programs and ports.
        runs: whether its programs run already.
        changes: what supervisord finds when it reads its files again.
        broken: instances that end, as soon as they are started of this release.
        wrong: instances that see something else.
        said: takes what is said.
    """
    machine = recorded(None, said)

    def is_broken(name: str) -> bool:
        return name in broken and (name == "trial" or in_place(fleet) in ("", fleet.release))

    supervisord = Supervisord(
        machine.note, (*fleet.programs, *fleet.watchers), runs=runs, changes=changes, failing=is_broken
    )

    def session() -> requests.Session:
        opened = requests.Session()
        opened.mount("http://", Answers(fleet, is_broken, wrong))
        return opened

    machine.answers.update(
        {
            **FILES,
            "control": lambda *where: supervisord,
            "supervisord_listens": lambda paths: supervisord.runs,
            "start_supervisord": lambda *given: supervisord.begin(),
            "processes": lambda paths: (Process(99, 1, "supervisord"),) if supervisord.runs else (),
            "open_session": session,
            "trial_process": trial,
        }
    )
    return machine


def in_place(fleet: Fleet) -> str:
    """The release whose files are in place; empty for none."""
    try:
        return read_record(fleet.paths).release
    except ControlError:
        return ""


def done(machine: RecordedMachine) -> list[str]:
    """What was done, in order."""
    return [call for call in machine.calls if call.split()[0] not in QUERIES]


class Lasting:
    """A trial that does not end by itself."""

    pid = 98

    def poll(self) -> int | None:
        return None


@contextmanager
def trial(*given: object) -> Iterator[Lasting]:
    yield Lasting()


@dataclass
class Manager:
    """Takes systemd's place, and notes down what it is told."""

    machine: RecordedMachine
    refuses: bool = False

    def problems(self) -> Iterator[Problem]:
        if self.refuses:
            yield Problem("systemd", "does not run this machine", "boot it")

    def install(self, unit: str) -> bool:
        self.machine.note("manager.install")
        return True

    def start(self, fleet: Fleet) -> None:
        self.machine.note("manager.start")
        self.machine.answers["start_supervisord"]()

    def stop(self) -> None:
        self.machine.note("manager.stop")

    def remove(self) -> None:
        self.machine.note("manager.remove")


def inventory_in(folder: Path) -> str:
    """A fleet.toml whose folders all lie below one."""
    folders = "\n".join(f'{name} = "{folder / name}"' for name in ("install", "etc", "state", "log"))
    return f"""
[model]
file = "simulated:"
[ports]
first = 8101
last = 8105
[system]
user = "{getpass.getuser()}"
group = "{grp.getgrgid(os.getgid()).gr_name}"
nginx = "{nginx_in(folder)}"
[folders]
{folders}
run = "/run/framefleet-test-{folder.name}"
[[hosts]]
name = "here"
address = "10.0.0.1"
cpu = 1
"""


def release_in(folder: Path, number: int) -> str:
    """Makes a complete release; gives its id."""
    name = f"2026010{number}T000000Z-r{number}"
    place = folder / "install" / "releases" / name
    place.mkdir(parents=True)
    record = {"id": name, "created": "", "python": "3", "machine": "any"}
    (place / "release.json").write_text(json.dumps(record))
    (place / TEST_PICTURE).write_bytes(b"picture")
    (place / "built").touch()
    return name


def target_of(folder: Path, release: str, machine: RecordedMachine) -> Target:
    """The host, as the code of that release sees it."""
    place = folder / "install" / "releases" / release
    found = release_of(place)
    assert found
    facts = replace(MACHINE, root=True)
    return Target(Code(place, place / "venv/bin/python"), found, facts, Manager(machine), machine)
