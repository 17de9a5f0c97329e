"""Only the right box is taken for an answer."""

import sys
from pathlib import Path

import numpy as np
import pytest

from bench.peers import processes
from bench.peers.server import Server, Spec
from bench.peers.works import LARGE, SMALL, TINY, WORKS, WrongAnswerError, check, write_body
from framefleet.machine.ports import reserved_ports

SOURCE = np.random.default_rng(1).integers(0, 255, (90, 120, 3), np.uint8)
WRONG = Path(__file__).with_name("wrong_server.py")


def test_the_box_at_the_cross_is_right() -> None:
    check(SMALL, b'[{"0": [392, 144, 472, 224, 0.9]}]')
    check(LARGE, b'[{"0": [1180, 330, 1420, 570, 0.9]}]')
    check(TINY, b'[{"0": [39, 19, 47, 27, 0.9]}]')


@pytest.mark.parametrize(
    "answer",
    [b"", b"{}", b"[]", b'[{"0": [1, 2, 3]}]', b'[{"0": [1, 2, 81, 82, 0.9]}]', b'[{"0": [392, 144, 392, 144, 0.9]}]'],
)
def test_anything_else_is_refused(answer: bytes) -> None:
    with pytest.raises(WrongAnswerError, match="640x480 JPEG"):
        check(SMALL, answer)


def test_bodies_are_of_the_size_they_are_called(tmp_path: Path) -> None:
    paths = [write_body(work, SOURCE, tmp_path) for work in WORKS]
    assert len(set(paths)) == len(WORKS)
    assert [path.read_bytes()[:2] for path in paths] == [b'{"' if work.raw else b"\xff\xd8" for work in WORKS]


def test_a_server_with_a_wrong_answer_does_not_take_part(tmp_path: Path) -> None:
    body = write_body(SMALL, SOURCE, tmp_path)
    with reserved_ports() as port:
        server = Server(Spec("wrong", (sys.executable, str(WRONG), str(port)), port, {}, tmp_path), tmp_path / "log")
        try:
            with pytest.raises(WrongAnswerError, match="pixels off"):
                server.start(SMALL, body)
            keeper = server.pid
        finally:
            server.stop()
    with pytest.raises(ProcessLookupError):
        processes.tree(keeper)
