import os
from pathlib import Path

from framefleet.whole_file import write_whole


def test_what_somebody_planted_under_a_name_to_come_is_not_written_through(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "m.onnx"
    victim.write_bytes(b"theirs")
    (tmp_path / f".m.onnx.{os.getpid()}").symlink_to(victim)
    path.symlink_to(victim)
    write_whole(path, b"ours")
    assert (path.is_symlink(), path.read_bytes(), victim.read_bytes()) == (False, b"ours", b"theirs")
