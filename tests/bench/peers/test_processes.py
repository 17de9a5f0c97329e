"""CPU time and memory of whole servers, on processes that really use them."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.peers import keeper, processes

BURNT_S = 0.3
BURN = f"import time\nwhile time.process_time() < {BURNT_S}: pass"
# Burns in a child that has ended, and says so; then sits there.
PARENT = f"""
import subprocess, sys, time
subprocess.run([sys.executable, "-c", {BURN!r}])
print("burnt", flush=True)
time.sleep(600)
"""
# Leaves a child behind in a session of its own, and ends.
DESERTER = """
import subprocess, sys
stays = "print('here', flush=True); import time; time.sleep(600)"
subprocess.Popen([sys.executable, "-c", stays], start_new_session=True)
"""


@contextmanager
def kept(program: str) -> Iterator[int]:
    """A program below a keeper, once it has said something; yields the keeper's pid."""
    command = [sys.executable, str(keeper.__file__), sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout and process.stdout.readline()
            yield process.pid
        finally:
            processes.end_all(process.pid)


def test_what_a_child_used_counts_after_it_has_ended() -> None:
    with kept(PARENT) as root:
        assert len(processes.tree(root)) == 2
        assert processes.cpu_s(root) >= BURNT_S


def test_what_a_server_leaves_behind_stays_in_its_tree() -> None:
    with kept(DESERTER) as root:
        left = processes.tree(root)[-1]
        assert left.pid != root
        # The kernel gives it to the keeper as soon as its parent has ended.
        while left.parent != root:
            left = processes.tree(root)[-1]
        assert processes.pss_mb(root) > 1


def test_the_busiest_is_the_one_that_used_most_since_the_first_look() -> None:
    def seen(pid: int, own_s: float) -> processes.Process:
        return processes.Process(pid, 1, own_s, 0, 0)

    before = [seen(1, 0), seen(2, 50), seen(3, 1)]
    assert processes.busiest(before, [seen(1, 90), seen(2, 51), seen(3, 4), seen(4, 2)]) == 3


def test_a_tree_that_has_ended_is_an_error() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    with pytest.raises(ProcessLookupError, match="has ended"):
        processes.cpu_s(process.pid)
