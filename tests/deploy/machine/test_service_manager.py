from collections.abc import Sequence
from pathlib import Path

import pytest

from deploy.errors import StartError
from deploy.machine.command import Outcome
from deploy.machine.run_files import remove, write_text
from deploy.machine.service_manager import Systemd
from tests.deploy.fleets import fleet_of
from tests.deploy.recorded import recorded

UNIT = "[Service]\nExecStart=/bin/true\n"


class Calls:
    """Takes the place of systemctl, which needs a booted machine; remembers what it was told."""

    def __init__(self, failing: str = "") -> None:
        self.made: list[str] = []
        self.machine = recorded({"run": self._run, "write_text": write_text, "remove": remove})
        self._failing = failing

    def _run(self, command: Sequence[str]) -> Outcome:
        self.made.append(" ".join(command))
        return Outcome(1, "Failed to start.\nUnit is masked.\n") if self._failing in command else Outcome(0, "")


def test_a_new_unit_is_written_read_and_enabled(tmp_path: Path) -> None:
    calls = Calls()
    assert Systemd(calls.machine, tmp_path).install(UNIT)
    assert (tmp_path / "framefleet.service").read_text() == UNIT
    assert calls.made == ["systemctl daemon-reload", "systemctl --quiet enable framefleet.service"]


def test_the_same_unit_is_not_written_again(tmp_path: Path) -> None:
    Systemd(Calls().machine, tmp_path).install(UNIT)
    calls = Calls()
    assert not Systemd(calls.machine, tmp_path).install(UNIT)
    assert "systemctl daemon-reload" not in calls.made


def test_a_removed_unit_is_gone_and_forgotten(tmp_path: Path) -> None:
    calls = Calls()
    systemd = Systemd(calls.machine, tmp_path)
    systemd.install(UNIT)
    systemd.remove()
    assert list(tmp_path.iterdir()) == []
    assert "systemctl --quiet disable framefleet.service" in calls.made


def test_what_was_never_there_is_neither_stopped_nor_removed(tmp_path: Path) -> None:
    calls = Calls()
    Systemd(calls.machine, tmp_path).stop()
    Systemd(calls.machine, tmp_path).remove()
    assert calls.made == []


def test_a_refused_start_is_told_in_systemds_words(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"systemctl start framefleet\.service: Unit is masked\.; journalctl"):
        Systemd(Calls("start").machine, tmp_path).start(fleet_of())
