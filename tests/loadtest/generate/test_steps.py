"""Steps made by real Locust, in one process and in several, against services that behave as a test says."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from loadtest.__main__ import locust_arguments
from loadtest.errors import OptionError
from loadtest.generate.locust_process import locust_process
from loadtest.generate.steps import StepOptions, run_step, take_references
from loadtest.measure import faults, run_folder, sample_files
from loadtest.options import ReplayOptions
from tests.loadtest.fake_service import RIGHT, Scripted, fake_service
from tests.loadtest.waiting import LIMIT_S, wait_until

FRAMES = 3


def asked(video: Path, **more: object) -> ReplayOptions:
    usual: dict[str, object] = {"video": str(video), "max_frames": FRAMES, "cameras": 1, "in_flight": 400}
    return ReplayOptions(**usual | more)  # type: ignore[arg-type]


def test_a_stall_of_two_seconds_shows_in_the_99th_percentile(sample_video: Path, tmp_path: Path) -> None:
    stall = threading.Lock()

    def script(number: int) -> Scripted:
        with stall:
            if number == FRAMES + 50:
                time.sleep(2.0)
        return RIGHT

    with fake_service(script) as service:
        options = asked(sample_video, arrivals="constant", fps=50, seconds=5, wait_s=60)
        made = run_step(service.url, StepOptions("stall", options, tmp_path))
    assert made.counts.ok == 250
    # The first frame of the stall waits 2 s, the last one not at all: 99 % of all 250 wait less than 1.95 s.
    assert made.latency.p99 >= 1900
    # 100 frames fell due in it; a client that waits for its answers would have met it once.
    assert made.counts.late >= 90


def test_frames_leave_at_the_rate_that_was_asked_whatever_the_service_takes(sample_video: Path, tmp_path: Path) -> None:
    def script(number: int) -> Scripted:
        time.sleep(0.2 if number >= FRAMES else 0.0)
        return RIGHT

    with fake_service(script) as service:
        options = asked(sample_video, arrivals="constant", fps=100, seconds=4)
        made = run_step(service.url, StepOptions("rate", options, tmp_path))
    assert made.sent_fps == pytest.approx(100, rel=0.01)
    sent_s = np.sort(sample_files.read(tmp_path)["sent_s"])
    # The median over many spans of two seconds: one late frame is of no account.
    assert 200 / np.median(sent_s[200:] - sent_s[:-200]) == pytest.approx(100, rel=0.01)
    assert made.in_flight_mean >= 15


def test_a_generator_that_cannot_keep_up_marks_its_step_invalid(sample_video: Path, tmp_path: Path) -> None:
    with fake_service(lambda number: RIGHT) as service:
        # Nobody sends 300 requests within the 2 ms that the SLO allows.
        options = asked(sample_video, arrivals="bursts", burst=300, fps=300, seconds=1)
        made = run_step(service.url, StepOptions("burst", options, tmp_path))
    assert not made.valid
    assert any("the generator sent late" in reason for reason in made.invalid)


def test_a_generator_out_of_descriptors_blames_itself(sample_video: Path, tmp_path: Path) -> None:
    let_go = threading.Event()

    def script(number: int) -> Scripted:
        if number >= FRAMES:
            let_go.wait(LIMIT_S)
        return RIGHT

    arguments = ["--video", str(sample_video), "--max-frames", str(FRAMES), "--cameras", "1", "--in-flight", "400"]
    arguments += ["--arrivals", "constant", "--fps", "100", "--seconds", "2", "--wait-s", "60", "--out", str(tmp_path)]
    with fake_service(script) as service:
        command = [sys.executable, "-m", "loadtest", "replay", "--url", service.url, *arguments]
        process = subprocess.Popen(
            ["/bin/sh", "-c", 'ulimit -n 64; exec "$@"', "sh", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until(lambda: sampled(tmp_path, "dropped") > 100)
            let_go.set()
            assert process.wait(LIMIT_S) == 1
        finally:
            let_go.set()
            process.terminate()
            process.wait(LIMIT_S)
    assert sampled(tmp_path, "failed") == 0
    end = run_folder.read_end(tmp_path)
    assert end is not None and end.starved == sampled(tmp_path, "dropped")
    assert "the generator is out of connections" in faults.read(tmp_path / run_folder.FAULTS)[0].reason


def sampled(folder: Path, verdict: str) -> int:
    if not list(folder.glob(sample_files.PATTERN)) or not any(path.stat().st_size for path in folder.glob("*.bin")):
        return 0
    return int((sample_files.read(folder)["verdict"] == verdict).sum())


def test_cameras_whose_newest_frame_wins_drop_frames_without_doubt_about_the_step(
    sample_video: Path, tmp_path: Path
) -> None:
    def script(number: int) -> Scripted:
        time.sleep(0.25 if number >= FRAMES else 0.0)
        return RIGHT

    with fake_service(script) as service:
        options = asked(sample_video, cameras=2, fps=20, seconds=3, keep="newest", in_flight=1, slo_ms=10_000)
        made = run_step(service.url, StepOptions("newest", options, tmp_path))
    counts = made.counts
    assert counts.offered == 120 and counts.ok + counts.dropped == 120
    assert counts.dropped >= 60
    table = sample_files.read(tmp_path)
    assert (table["held_s"][table["verdict"] == "same"] > 0).sum() >= 4
    assert not [reason for reason in made.invalid if "connections" in reason]


def test_clients_of_a_closed_loop_have_one_frame_each_under_way(sample_video: Path, tmp_path: Path) -> None:
    now, most, lock = [0], [0], threading.Lock()

    def script(number: int) -> Scripted:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.02)
        with lock:
            now[0] -= 1
        return RIGHT

    with fake_service(script) as service:
        options = asked(sample_video, arrivals="closed", cameras=3, seconds=2)
        made = run_step(service.url, StepOptions("closed", options, tmp_path))
    assert most == [3]
    assert made.counts.ok == made.counts.offered > 3
    assert made.in_flight_mean <= 3


def test_a_complete_step_is_read_back_and_another_one_is_made(sample_video: Path, tmp_path: Path) -> None:
    with fake_service(lambda number: RIGHT) as service:
        options = asked(sample_video, arrivals="poisson", fps=20, seconds=1)
        references = take_references(service.url, options, tmp_path / "references.json")
        first = run_step(service.url, StepOptions("step", options, tmp_path / "step", references))
        asked_so_far = service.posts
        assert asked_so_far == FRAMES + 20
        assert run_step(service.url, StepOptions("step", options, tmp_path / "step", references)) == first
        assert service.posts == asked_so_far
        (tmp_path / "step" / run_folder.END).unlink()
        run_step(service.url, StepOptions("step", options, tmp_path / "step", references))
        assert service.posts == asked_so_far + 20


@pytest.mark.parametrize(("cameras", "fps"), [(1, 60), (4, 15)], ids=["one stream", "cameras"])
def test_two_processes_make_one_run(sample_video: Path, tmp_path: Path, cameras: int, fps: int) -> None:
    with fake_service(lambda number: RIGHT if number % 10 else Scripted(status=503)) as service:
        options = asked(sample_video, arrivals="cameras", cameras=cameras, fps=fps, seconds=3, slo_ms=10_000)
        references = right_references(options, tmp_path)
        made = run_step(service.url, StepOptions("two", options, tmp_path / "two", references, processes=2))
    assert (made.counts.offered, made.counts.missing, made.generator.processes) == (180, 0, 2)
    assert made.counts.shed >= 15
    assert len(list((tmp_path / "two").glob(sample_files.PATTERN))) == 2
    assert len(faults.read(tmp_path / "two" / run_folder.FAULTS)) == made.counts.shed
    table = sample_files.read(tmp_path / "two")
    # Merged, the two halves are the one schedule again.
    assert np.diff(table["scheduled_s"]) == pytest.approx(1 / 60, abs=1 / 60)


def right_references(options: ReplayOptions, folder: Path) -> Path:
    with fake_service(lambda number: RIGHT) as calm:
        return take_references(calm.url, options, folder / "references.json")


def test_workers_of_other_machines_share_nothing_but_the_network(
    repo_root: Path, sample_video: Path, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """The service has one address; the master another, where two workers with folders of their own report."""
    master = f"127.0.0.2:{free_port()}"
    workers = []
    try:
        with fake_service(lambda number: RIGHT) as service:
            for name in ("b", "c"):
                (tmp_path / name).mkdir()
                with (tmp_path / name / "log").open("wb") as log:
                    workers.append(
                        subprocess.Popen(
                            [sys.executable, "-m", "loadtest", "worker", "--master", master],
                            cwd=tmp_path / name,
                            env=os.environ | {"PYTHONPATH": str(repo_root)},
                            stdin=subprocess.DEVNULL,
                            stdout=log,
                            stderr=log,
                        )
                    )
            options = asked(sample_video, arrivals="poisson", fps=60, seconds=2, slo_ms=10_000)
            for number in (1, 2):
                wanted = StepOptions(f"run{number}", options, tmp_path / f"run{number}", processes=2, bind=master)
                made = run_step(service.url, wanted)
                assert (made.counts.offered, made.counts.ok, made.generator.processes) == (120, 120, 2)
    finally:
        for worker in workers:
            worker.terminate()
        codes = [worker.wait(LIMIT_S) for worker in workers]
    assert codes == [143, 143]
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["log"]


def leading(port: str, *more: str) -> list[str]:
    return ["--headless", "--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port, *more]


def test_a_worker_without_the_video_ends_the_run_and_says_so(
    sample_video: Path, tmp_path: Path, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = str(free_port())
    (tmp_path / "clip.mp4").symlink_to(sample_video)
    here, there = tmp_path / "here", tmp_path / "there"
    there.mkdir()
    more = (
        "--video",
        "clip.mp4",
        "--max-frames",
        "2",
        "--run-dir",
        str(here),
        "--logfile",
        str(tmp_path / "log"),
    )
    with fake_service(lambda number: RIGHT) as service, ExitStack() as started:
        monkeypatch.chdir(tmp_path)
        leader = started.enter_context(locust_process([*leading(port, *more), "--host", service.url]))
        monkeypatch.chdir(there)
        started.enter_context(locust_process(locust_arguments(f"127.0.0.1:{port}")))
        assert leader.wait(LIMIT_S) == 2
    assert "clip.mp4: no such video" in (tmp_path / "log").read_text()
    assert not (here / run_folder.END).exists()


def test_a_worker_that_dies_ends_the_run_long_before_its_end(
    sample_video: Path, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    port = str(free_port())
    more = ["--expect-workers", "2", "--video", str(sample_video), "--max-frames", "2", "--cameras", "2"]
    more += ["--seconds", "3600", "--run-dir", str(tmp_path), "--logfile", str(tmp_path / "log")]
    with fake_service(lambda number: RIGHT) as service, ExitStack() as started:
        leader = started.enter_context(locust_process([*leading(port, *more), "--host", service.url]))
        workers = [started.enter_context(locust_process(locust_arguments(f"127.0.0.1:{port}"))) for _ in range(2)]
        wait_until(lambda: sampled(tmp_path, "same") > 20)
        workers[0].kill()
        assert leader.wait(LIMIT_S) == 2
    assert "died, or its connection broke" in (tmp_path / "log").read_text()
    assert not (tmp_path / run_folder.END).exists()


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:http", ":5557"])
def test_an_address_that_makes_no_sense_is_named(address: str) -> None:
    with pytest.raises(OptionError, match="must be ADDRESS:PORT"):
        locust_arguments(address)
