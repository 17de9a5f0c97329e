"""Of the instances of a host one drains for its memory at a time, and none waits for ever."""

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.safeguards.memory import FILE, SHORT_TURN_S, TURN_S, DrainTurn


class Host:
    """Instances that share a folder and a clock."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, 1000.0
        self.turns: list[DrainTurn] = []

    def turn(self, instance: str) -> DrainTurn:
        self.turns.append(DrainTurn(self.folder, instance, lambda: self.now, lambda s: None))
        return self.turns[-1]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path / "not there yet")
    yield host
    for turn in host.turns:
        turn.leave()


def test_one_has_the_turn_until_its_successor_gives_it_back(host: Host) -> None:
    assert host.turn("first").take()
    assert not host.turn("second").take()
    first, second = host.turn("first"), host.turn("second")
    second.listen()
    assert not second.take(), "it is not the second's to end"
    first.listen()
    assert second.take()
    assert not first.take()


def test_who_has_the_turn_may_take_it_again(host: Host) -> None:
    assert host.turn("first").take()
    assert host.turn("first").take()


@pytest.mark.parametrize(("urgent", "limit_s"), [(False, TURN_S), (True, SHORT_TURN_S)], ids=["over", "far over"])
def test_a_turn_that_nobody_ends_is_over_after_a_while(host: Host, urgent: bool, limit_s: float) -> None:
    assert host.turn("first").take()
    host.now += limit_s - 1
    assert not host.turn("second").take(urgent=urgent)
    host.now += 1
    assert host.turn("second").take(urgent=urgent)


def test_a_turn_of_before_the_machine_was_started_again_is_over(host: Host) -> None:
    assert host.turn("first").take()
    host.now = 5.0
    assert host.turn("second").take()


@pytest.mark.parametrize("found", [b"", b"first", b"first soon\n", b"\xff\0 \xff"], ids=repr)
def test_a_damaged_note_is_nobodys_turn(host: Host, found: bytes) -> None:
    host.folder.mkdir()
    (host.folder / FILE).write_bytes(found)
    assert host.turn("second").take()
    assert not host.turn("first").take()


@pytest.mark.parametrize("kept", ["first.listening", FILE])
def test_a_lock_that_somebody_keeps_stops_no_start_and_no_drain_that_is_urgent(host: Host, kept: str) -> None:
    host.turn("first").listen()
    host.turns.pop().leave()
    (host.folder / FILE).touch()
    with (host.folder / kept).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        host.turn("first").listen()
        assert host.turns[-1].take(urgent=True)


def test_no_other_user_can_lock_its_files(host: Host) -> None:
    turn = host.turn("first")
    turn.listen()
    assert turn.take()
    assert [path.stat().st_mode & 0o077 for path in sorted(host.folder.iterdir())] == [0, 0]


def test_an_instance_on_its_own_never_waits() -> None:
    alone = DrainTurn(None, "alone")
    assert alone.take()
    alone.listen()
    assert alone.take()


def test_where_no_turn_can_be_noted_only_what_is_far_over_drains(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    turn = DrainTurn(tmp_path / "file", "first")
    turn.listen()
    assert not turn.take()
    assert turn.take(urgent=True)


def test_a_link_that_was_put_there_is_not_followed(host: Host, tmp_path: Path) -> None:
    host.folder.mkdir()
    (tmp_path / "other").write_text("first 999\n")
    (host.folder / FILE).symlink_to(tmp_path / "other")
    host.turn("first").listen()
    assert not host.turn("first").take()
    assert (tmp_path / "other").read_text() == "first 999\n"


@pytest.mark.parametrize(("urgent", "limit_s"), [(False, TURN_S), (True, SHORT_TURN_S)], ids=["over", "far over"])
def test_the_last_one_that_listens_waits_for_the_others_but_not_for_ever(
    host: Host, urgent: bool, limit_s: float
) -> None:
    first, second = host.turn("first"), host.turn("second")
    first.listen()
    second.listen()
    first.leave()
    assert not second.take(urgent=urgent)
    host.now += limit_s - 1
    assert not second.take(urgent=urgent)
    host.now += 1
    assert second.take(urgent=urgent)


def test_the_last_one_drains_as_soon_as_another_listens(host: Host) -> None:
    first, second = host.turn("first"), host.turn("second")
    first.listen()
    second.listen()
    first.leave()
    assert not second.take()
    host.turn("first").listen()
    assert second.take()
