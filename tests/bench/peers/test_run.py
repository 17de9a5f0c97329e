"""A whole run, of two servers that need no environment of their own, for a moment."""

from pathlib import Path

import pytest

from bench.peers.__main__ import BEGIN, END, main

ROOT = Path(__file__).resolve().parents[3]


def test_two_servers_are_measured_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    var = tmp_path / "var"
    var.mkdir()
    for name in ("video", "models"):
        (var / name).symlink_to(ROOT / "var" / name)
    servers = ["--servers", "1 instance", "bare Flask"]
    code = main(["--rounds", "1", "--seconds", "0.3", "--var", str(var), "--out", str(tmp_path / "out"), *servers])
    assert code == 0, capsys.readouterr().err
    page = (tmp_path / "out" / "benchmarks.md").read_text()
    section = page.partition(BEGIN)[2].partition(END)[0]
    assert "| Framefleet, 1 instance |" in section and "| bare Flask route |" in section
    assert "64x64 pictures a second over a bare Flask route, one instance" in section
    assert (tmp_path / "out" / "peers.svg").read_text().startswith("<?xml")
    assert (var / "peers" / "results.json").exists()


def test_without_a_sample_video_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"bench-peers: .*no sample video; run `make setup`"):
        main(["--var", str(tmp_path), "--servers", "nobody"])
