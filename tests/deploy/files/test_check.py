"""nginx and supervisor themselves read what is rendered."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.checks.config_check import check, check_config
from deploy.files.render import render
from deploy.fleet import Fleet, HostFacts
from deploy.machine import run
from deploy.machine.command import Outcome, find_nginx
from deploy.machine.machine import Machine
from tests.deploy.fleets import CODE, fleet_of

THIS = Machine(lambda line: None)


@pytest.fixture(scope="module")
def machine() -> HostFacts:
    return run.host_facts(None, os.environ)


def staged(fleet: Fleet, change: Callable[[str, str], str]) -> None:
    """Writes the fleet's files as check expects them, each changed by `change(path, text)`."""
    run.make_folders(fleet.paths)
    files = [replace(file, text=change(str(file.path), file.text)) for file in render(fleet)]
    run.write_files(fleet.paths.etc, files)


@pytest.mark.parametrize("instances", [1, 3])
def test_what_is_rendered_is_accepted_and_nothing_is_left_behind(
    tmp_path: Path, machine: HostFacts, instances: int
) -> None:
    stage = tmp_path / "stage"
    assert check_config(fleet_of(instances, machine=machine), stage, THIS) == ()
    assert not stage.exists()


def test_a_path_with_spaces_is_accepted(tmp_path: Path, machine: HostFacts) -> None:
    assert check_config(fleet_of(machine=machine), tmp_path / "my stage", THIS) == ()


def test_a_broken_nginx_file_is_told_with_its_line(tmp_path: Path, machine: HostFacts) -> None:
    fleet = fleet_of(var=tmp_path, machine=machine)
    staged(fleet, lambda path, text: text.replace("least_conn;", "least_con;"))
    (problem,) = check(fleet, run.this_code(), run.run_command)
    line = (fleet.paths.etc / "nginx/snippets/upstream.conf").read_text().splitlines().index("    least_con;") + 1
    assert str(problem) == (
        f'nginx/snippets/upstream.conf:{line}: unknown directive "least_con"; correct its template in deploy/'
    )


def test_a_fleet_without_upstreams_is_refused(tmp_path: Path, machine: HostFacts) -> None:
    fleet = replace(fleet_of(var=tmp_path, machine=machine), instances=())
    staged(fleet, lambda path, text: text)
    (problem,) = check(fleet, run.this_code(), run.run_command)
    assert problem.what == "no servers are inside upstream"


def test_a_broken_supervisor_file_is_told_with_its_name(tmp_path: Path, machine: HostFacts) -> None:
    fleet = fleet_of(var=tmp_path, machine=machine)
    staged(fleet, lambda path, text: text.replace("startsecs=12", "startsecs=soon") if "cpu1" in path else text)
    (problem,) = check(fleet, run.this_code(), run.run_command)
    assert problem.where == "supervisor/programs/cpu1.conf"
    assert "soon" in problem.what


def test_a_supervisor_file_that_does_not_parse_is_told(tmp_path: Path, machine: HostFacts) -> None:
    fleet = fleet_of(var=tmp_path, machine=machine)
    staged(fleet, lambda path, text: "nonsense\n" if path.endswith("supervisord.conf") else text)
    (problem,) = check(fleet, run.this_code(), run.run_command)
    assert problem.where == "supervisor/supervisord.conf"


def test_output_without_a_known_complaint_is_shown_as_it_is() -> None:
    fleet = fleet_of()
    problems = check(fleet, CODE, lambda command: Outcome(1, "first\nkilled\n"))
    assert [str(problem) for problem in problems] == [
        "nginx/nginx.conf: killed; correct its template in deploy/",
        "supervisor/supervisord.conf: killed; correct its template in deploy/",
    ]


def test_nginx_is_found_on_the_path_first(tmp_path: Path) -> None:
    own = tmp_path / "nginx"
    own.touch()
    assert find_nginx(f"/nowhere:{tmp_path}") == own


def test_nginx_is_found_in_sbin_although_that_is_not_on_the_path(machine: HostFacts) -> None:
    assert find_nginx("") == find_nginx("/nowhere") == machine.nginx
