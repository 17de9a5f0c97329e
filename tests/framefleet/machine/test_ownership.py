"""Whose a file is, and how another user may come to use it."""

import os
from pathlib import Path

import pytest

from framefleet.machine.ownership import CHECKOUT, chown_command, run_as, user_name, why_denied
from tests.users import NOBODY, UNKNOWN, as_root, as_user


def test_commands_are_quoted_and_know_users_without_a_name() -> None:
    assert chown_command(Path("/srv/it's (1)"), 0) == "chown -R root: '/srv/it'\"'\"'s (1)'"
    assert chown_command(Path("/srv/a"), UNKNOWN) == f"chown -R {UNKNOWN} /srv/a"
    assert (run_as(0), run_as(UNKNOWN)) == ("sudo", f"sudo -u '#{UNKNOWN}'")
    assert (user_name(0), user_name(UNKNOWN)) == ("root", f"user {UNKNOWN}")


@as_root
@pytest.mark.parametrize(
    ("name", "culprit"),
    [
        ("var/run/lock", "var/run/lock"),
        ("var/run/new", "var/run"),
        ("var/closed/file", "var/closed"),
        ("var/closed/below/file", "var/closed"),
        ("var/run/new/below/file", "var/run"),
    ],
)
def test_the_first_thing_on_the_way_that_refuses_is_named(open_folder: Path, name: str, culprit: str) -> None:
    (open_folder / "var/run").mkdir(parents=True)
    (open_folder / "var/closed").mkdir(0o700)
    (open_folder / "var/run/lock").touch(0o644)
    told = as_user(NOBODY, lambda: why_denied(open_folder / name))
    assert told.startswith(f"{open_folder / culprit} belongs to root, and you are nobody: ")
    assert told.endswith(": run this as root (sudo ...), or choose a file or folder of your own")


@as_root
def test_what_lies_in_a_folder_of_ones_own_is_given_over_as_a_whole(open_folder: Path) -> None:
    (open_folder / "my var/run").mkdir(parents=True)
    (open_folder / "my var/run/lock").touch()
    os.chown(open_folder, UNKNOWN, UNKNOWN)
    told = as_user(UNKNOWN, lambda: why_denied(open_folder / "my var/run/lock"), here=open_folder)
    give = f"sudo chown -R {UNKNOWN} '{open_folder}/my var', or choose a folder of your own"
    assert told == f"{open_folder}/my var/run/lock belongs to root, and you are user {UNKNOWN}: {give}"


@as_root
def test_a_mode_that_forbids_its_own_owner_is_told(open_folder: Path) -> None:
    file = open_folder / "file"
    file.touch(0o444)
    os.chown(file, NOBODY, NOBODY)
    told = as_user(NOBODY, lambda: why_denied(file))
    assert told == f"{file} is yours, but its mode forbids it: chmod -R u+rwX {file}"


@as_root
@pytest.mark.parametrize("place", ["/etc/fleet", "/proc/1/mem", "/root/x"])
def test_nothing_of_the_systems_is_offered_to_be_given_away(place: str) -> None:
    assert "chown" not in as_user(NOBODY, lambda: why_denied(Path(place)), here=Path("/"))


@as_root
def test_a_part_of_the_checkout_is_given_over_not_all_of_it() -> None:
    told = as_user(NOBODY, lambda: why_denied(CHECKOUT / "var/models/m.onnx"))
    assert f"chown -R nobody: {CHECKOUT}," not in told
