import subprocess
import sys
from pathlib import Path

import pytest

from deploy.errors import ControlError
from deploy.machine.run_lock import Holder, deploy_lock, this_holder

ANNA = Holder("anna", "deploying release r1", 4711, 1000.0)
BEN = Holder("ben", "rolling back", 4712, 1042.0)
DIE = """
import os, sys
from pathlib import Path
from deploy.machine.run_lock import deploy_lock, this_holder
with deploy_lock(Path(sys.argv[1]), this_holder("dying", {"SUDO_USER": "carl"}, 5.0)):
    os._exit(9)
"""


def test_the_second_is_told_who_holds_it_and_for_how_long(tmp_path: Path) -> None:
    lock = tmp_path / "new" / "lock"
    with deploy_lock(lock, ANNA) as died:
        assert died is None
        with pytest.raises(ControlError) as caught, deploy_lock(lock, BEN):
            pass
    busy = f"{lock}: busy with deploying release r1 by anna (pid 4711), since 42 s; wait for it to end"
    assert str(caught.value) == busy
    with deploy_lock(lock, BEN) as died:
        assert died is None


def test_who_died_holding_it_is_told_and_does_not_hold_it_any_more(tmp_path: Path, repo_root: Path) -> None:
    lock = tmp_path / "lock"
    done = subprocess.run([sys.executable, "-c", DIE, str(lock)], cwd=repo_root, check=False, timeout=60)
    assert done.returncode == 9
    with deploy_lock(lock, ANNA) as died:
        assert died is not None
        assert (died.who, died.what, died.since) == ("carl", "dying", 5.0)


@pytest.mark.parametrize("text", ["", "{", '{"who": 1}'], ids=["empty", "cut off", "of another version"])
def test_a_lock_that_says_nothing_is_nobodys(tmp_path: Path, text: str) -> None:
    lock = tmp_path / "lock"
    lock.write_text(text)
    with deploy_lock(lock, ANNA) as died:
        assert died is None


def test_a_failure_inside_is_passed_on_and_frees_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), deploy_lock(tmp_path / "lock", ANNA):
        raise ZeroDivisionError
    with deploy_lock(tmp_path / "lock", BEN) as died:
        assert died is None


def test_the_person_behind_sudo_is_the_holder() -> None:
    assert this_holder("x", {"SUDO_USER": "anna", "USER": "root"}).who == "anna"
