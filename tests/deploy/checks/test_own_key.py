"""The key that a host's own tools ask with, and what must be right about it before a deploy."""

import hashlib
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.checks.known_picture import KnownPicture
from deploy.checks.own_key import headers, own_key
from deploy.describe.fleet_file import parse_inventory
from deploy.describe.inventory import Inventory, Keys
from deploy.errors import SettingsError
from deploy.machine import run
from deploy.machine.command import Outcome
from deploy.rollout.preflight import key_problems, tls_problems
from tests.deploy.fleets import fleet_of
from tests.deploy.inventories import ONE_HOST

SECRET = "s3cret"


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    file, own = tmp_path / "keys", tmp_path / "own.key"
    file.write_text(f"deploy:{hashlib.sha256(SECRET.encode()).hexdigest()}:detect\n")
    own.write_text(f"{SECRET}\n")
    own.chmod(0o600)
    return Keys(file, own)


def inventory(keys: Keys) -> Inventory:
    # nobody: a user that every machine has and that is in no group of ours.
    return replace(parse_inventory(ONE_HOST), keys=keys, user="nobody", group="nogroup")


def words(keys: Keys, code: int = 0) -> list[str]:
    return [str(problem) for problem in key_problems(inventory(keys), lambda command: Outcome(code, ""))]


def test_the_callers_key_comes_before_the_hosts_own(keys: Keys) -> None:
    fleet = replace(fleet_of(1), own_key=keys.own)
    assert own_key(fleet, {"FLEET_API_KEY": "mine"}) == "mine"
    assert own_key(fleet, {}) == SECRET
    assert own_key(fleet_of(1), {}) == ""


def test_a_key_that_cannot_be_read_is_told_with_a_cure(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"keys\.own: .*none: No such file.*; run this as root, or set FLEET_API_KEY"
    ):
        own_key(replace(fleet_of(1), own_key=tmp_path / "none"), {})


def test_a_request_brings_a_key_only_if_there_is_one() -> None:
    assert headers("") == {}
    assert headers(SECRET) == {"Authorization": f"Bearer {SECRET}"}


def test_a_key_is_not_shown_with_what_carries_it() -> None:
    assert SECRET not in repr(KnownPicture(b"", {}, SECRET))


def test_keys_that_are_in_order_keep_nobody_from_deploying(keys: Keys) -> None:
    assert words(keys) == []
    assert words(Keys()) == []


def test_what_is_wrong_with_the_keys_is_told_before_anything_is_touched(keys: Keys) -> None:
    assert keys.own
    keys.own.write_text("another")
    keys.own.chmod(0o644)
    assert words(keys, code=1) == [
        f"keys.file: {keys.file}: nobody cannot read it; chmod 644 {keys.file}: it holds hashes, no keys",
        f"keys.own: {keys.own}: others than its owner may read it; chmod 600 {keys.own}",
        f"keys.own: {keys.own}: its key is none of those in {keys.file}; make one for it",
    ]


def test_a_missing_file_is_named(keys: Keys) -> None:
    assert keys.own
    keys.own.unlink()
    assert words(keys) == [
        f"keys: {keys.own}: No such file or directory; docs/security.md says how to make keys on a host"
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can look as another user")
@pytest.mark.parametrize("user", ["nobody", "a-user-that-does-not-exist-yet"])
def test_the_user_of_the_instances_is_asked_whether_it_can_read_the_file(keys: Keys, user: str) -> None:
    assert keys.file
    # Nobody else may enter pytest's own folders.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        file = Path(shutil.copy(keys.file, folder))
        wanted = replace(inventory(Keys(file, keys.own)), user=user)
        assert list(key_problems(wanted, run.run_command)) == []
        file.chmod(0o640)
        assert len(list(key_problems(wanted, run.run_command))) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can look as another user")
def test_a_certificate_that_nginx_could_not_read_is_told_before_anything_is_touched() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        certificate, key = Path(folder, "chain.pem"), Path(folder, "key.pem")
        certificate.touch(0o644)
        key.touch(0o600)
        tls = f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"\n[system]\nuser = "nobody"\ngroup = "nogroup"\n'
        wanted = parse_inventory(tls + ONE_HOST)
        assert [str(problem) for problem in tls_problems(wanted, run.run_command)] == [
            f"tls.key: {key}: missing, or nobody cannot read it; chgrp nogroup {key}; chmod 640 {key}"
        ]
        shutil.chown(key, group="nogroup")
        key.chmod(0o640)
        assert list(tls_problems(wanted, run.run_command)) == []


def test_what_is_no_key_is_told_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^FLEET_API_KEY: has blanks or .*; correct it$") as refused:
        own_key(fleet_of(1), {"FLEET_API_KEY": "s3c ret"})
    assert "s3c" not in str(refused.value)
    (tmp_path / "own").write_text("s3c ret\nmore\n")
    with pytest.raises(SettingsError, match=r"^keys\.own: .*own: has blanks or .*; correct it$") as refused:
        own_key(replace(fleet_of(1), own_key=tmp_path / "own"), {})
    assert "s3c" not in str(refused.value)
