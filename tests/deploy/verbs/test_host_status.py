import json
from pathlib import Path

import pytest

from deploy.checks.health import Readiness
from deploy.machine.control import ProgramState
from deploy.verbs.host_verbs import HostRow, Recent, host_rows, host_table, read_restarts
from tests.deploy.fleets import fleet_of


def rows(**states: str) -> tuple[HostRow, ...]:
    fleet = fleet_of(2, release="r7")
    running = {name: "RUNNING" for name in (*fleet.programs, *fleet.watchers)} | states
    known = {n: ProgramState(n, s, 7, 3700, "") for n, s in running.items() if s != "MISSING"}

    def answer(name: str) -> Readiness:
        ready = running[name] == "RUNNING"
        return Readiness(name, "", ready, "r7" if ready else "", "" if ready else "refuses connections")

    answers = {name: answer(name) for name in fleet.programs}
    return host_rows(fleet, known, answers, {"cpu0": Recent(12.34, 56.78), "cpu1": None})


def test_a_row_shows_what_a_program_does() -> None:
    header, first, second, third, last = (line.split() for line in host_table(rows()).splitlines())
    assert header == ["PROGRAM", "GPU", "RELEASE", "STATE", "UPTIME", "RESTARTS", "RATE", "P95", "READY"]
    assert first == ["cpu0", "cpu", "r7", "RUNNING", "1h01m", "-", "12.3/s", "56.8", "ms", "yes"]
    assert second == ["cpu1", "cpu", "r7", "RUNNING", "1h01m", "-", "-", "-", "yes"]
    assert third == ["balancer", "-", "r7", "RUNNING", "1h01m", "-", "-", "-", "yes"]
    assert last == ["reviver", "-", "-", "RUNNING", "1h01m", "-", "-", "-", "yes"]


def test_what_answers_while_supervisor_still_waits_is_up() -> None:
    fleet = fleet_of(1, release="r7")
    states = {name: ProgramState(name, "STARTING", 7, 3, "") for name in fleet.programs}
    answers = {name: Readiness(name, "", True, "r7", "") for name in fleet.programs}
    assert " up, settling " in host_table(host_rows(fleet, states, answers, {})).splitlines()[1]


@pytest.mark.parametrize("state", ["FATAL", "MISSING"])
def test_what_does_not_run_is_not_well_and_says_why(state: str) -> None:
    found = rows(cpu1=state)
    assert [row.well for row in found] == [True, False, True, True]
    line = host_table(found).splitlines()[2]
    assert state in line and line.endswith("no: refuses connections")


def test_restarts_are_those_the_reviver_counted(tmp_path: Path) -> None:
    file = tmp_path / "programs.json"
    assert read_restarts(file) == {}
    file.write_text(json.dumps({"programs": [{"name": "cpu0", "restarts": 3}]}))
    assert read_restarts(file) == {"cpu0": 3}
    file.write_text("half a docum")
    assert read_restarts(file) == {}
