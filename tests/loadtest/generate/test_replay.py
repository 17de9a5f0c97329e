"""Real Locust replays the sample video: against a real instance, and against services that misbehave."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import requests

from loadtest.errors import RunError
from loadtest.generate import prepare, replay
from loadtest.measure import run_folder, sample_files
from loadtest.measure.samples import HEADER, Encoder, Sample
from loadtest.options import ReplayOptions
from loadtest.target.verdict import Verdict
from tests.instance import RunningInstance, running_instance
from tests.loadtest.fake_service import FACE, RIGHT, Scripted, answer, fake_service
from tests.loadtest.waiting import LIMIT_S, wait_until

FRAMES = 6
WIDE, HIGH = 400, 300


def loadtest(root: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "loadtest", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def replay_arguments(url: str, video: Path, out: Path, *more: str) -> list[str]:
    few = ("--max-frames", str(FRAMES), "--cameras", "2", "--fps", "10", "--seconds", "3")
    return ["replay", "--url", url, "--video", str(video), "--out", str(out), *few, *more]


def verdicts(folder: Path) -> dict[str, int]:
    found = sample_files.read(folder)["verdict"].tolist()
    return {verdict.value: found.count(verdict.value) for verdict in Verdict if verdict.value in found}


@pytest.fixture(scope="module")
def instance(
    default_model: Path, free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningInstance]:
    log = tmp_path_factory.mktemp("instance") / "log"
    with running_instance(free_port(), default_model, log, instance="gpu0", release="tested") as running:
        yield running


def test_a_real_instance_answers_everything_right(
    instance: RunningInstance, repo_root: Path, sample_video: Path, tmp_path: Path
) -> None:
    more = ("--fps", "2", "--seconds", "5")
    done = loadtest(repo_root, *replay_arguments(instance.url, sample_video, tmp_path, *more))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASSED: all 20 answers were the same as without load" in done.stdout
    table = sample_files.read(tmp_path)
    assert verdicts(tmp_path) == {"same": 20}
    assert set(table["instance"].tolist()) == {"gpu0"}
    assert (table["infer_ms"] > 0).all()
    assert (table["batch"] >= 1).all()
    assert (table["sent_s"] >= table["scheduled_s"]).all()
    assert (table["done_s"] > table["sent_s"]).all()
    page = (tmp_path / "index.html").read_text()
    assert "centerface-320" in page and "release tested" in page
    assert (tmp_path / "annotated.webm").exists()
    assert "/v1/detect,20,0," in (tmp_path / "locust_stats.csv").read_text()


def after_references(*script: Scripted) -> Callable[[int], Scripted]:
    """Right answers for the references, then the given ones in turn."""
    return lambda number: RIGHT if number < FRAMES else script[(number - FRAMES) % len(script)]


def test_each_kind_of_bad_answer_is_counted_apart_and_named(
    repo_root: Path, sample_video: Path, tmp_path: Path
) -> None:
    bad = (
        Scripted(body=answer(FACE | {"box": [80.0, 50.0, 126.0, 111.0]}), instance="liar"),
        Scripted(body=b'{"detections": "none"}'),
        Scripted(status=503, body=b"{}", headers={"Retry-After": "1"}),
        Scripted(status=429, body=b"{}"),
        Scripted(status=500, body=b"{}"),
        RIGHT,
    )
    with fake_service(after_references(*bad)) as service:
        done = loadtest(repo_root, *replay_arguments(service.url, sample_video, tmp_path))
    assert done.returncode == 1, done.stderr
    assert verdicts(tmp_path) == {"same": 10, "changed": 20, "shed": 10, "rejected": 10, "failed": 10}
    assert (
        "FAILED: answers that differ from those without load: 20; failed requests: 10; shed with 503: 10; "
        "rejected with 429: 10\n" in done.stdout
    )
    assert "10 x status 500" in done.stdout
    page = (tmp_path / "index.html").read_text()
    for reason in ("missing face 0.918 at [60.0, 50.0, 106.0, 111.0]", "malformed: ", "liar"):
        assert reason in page


def test_a_stall_shows_in_every_frame_that_fell_due_in_it(repo_root: Path, sample_video: Path, tmp_path: Path) -> None:
    stall = threading.Lock()

    def script(number: int) -> Scripted:
        """From the tenth frame on one second of silence; whoever comes meanwhile waits as well."""
        with stall:
            if number == FRAMES + 10:
                time.sleep(1.0)
        return RIGHT

    with fake_service(script) as service:
        more = ("--cameras", "1", "--in-flight", "5")
        done = loadtest(repo_root, *replay_arguments(service.url, sample_video, tmp_path, *more))
    assert done.returncode == 1, done.stdout + done.stderr
    table = sample_files.read(tmp_path)
    assert len(table) == 30
    right = table[table["verdict"] == "same"]
    latency_s = right["done_s"] - right["scheduled_s"]
    assert latency_s.max() > 0.9
    # A client that waits for each answer would have seen a single slow one.
    assert (latency_s > 0.3).sum() >= 4
    dropped = int((table["verdict"] == "dropped").sum())
    assert dropped >= 1
    assert f"never sent, too many unanswered: {dropped}" in done.stdout


def test_a_request_without_an_answer_is_a_failure(repo_root: Path, sample_video: Path, tmp_path: Path) -> None:
    with fake_service(after_references(RIGHT, Scripted(status=0))) as service:
        done = loadtest(repo_root, *replay_arguments(service.url, sample_video, tmp_path))
    assert done.returncode == 1, done.stdout + done.stderr
    assert verdicts(tmp_path) == {"same": 30, "failed": 30}
    assert "30 x no answer" in done.stdout


def test_nothing_there_is_said_in_one_line(
    repo_root: Path, sample_video: Path, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = loadtest(repo_root, *replay_arguments(url, sample_video, tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"loadtest: no fleet answers at {url}: start it with `make up`\n"


def test_a_bad_reference_stops_before_any_load(repo_root: Path, sample_video: Path, tmp_path: Path) -> None:
    with fake_service(lambda number: Scripted(status=503)) as service:
        done = loadtest(repo_root, *replay_arguments(service.url, sample_video, tmp_path))
        assert service.posts == 1
    assert done.returncode == 1
    assert "reference of frame 0 from /v1/detect: status 503 instead of 200" in done.stderr
    assert list(tmp_path.glob("samples*")) == []


def test_a_polite_kill_takes_locust_along(repo_root: Path, sample_video: Path, tmp_path: Path) -> None:
    with fake_service(lambda number: RIGHT) as service:
        arguments = replay_arguments(service.url, sample_video, tmp_path, "--seconds", "600")
        process = subprocess.Popen(
            [sys.executable, "-m", "loadtest", *arguments],
            cwd=repo_root,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until(lambda: service.posts > FRAMES + 5)
            (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            process.send_signal(signal.SIGTERM)
            assert process.wait(LIMIT_S) == 143
            assert not Path(f"/proc/{child}").exists()
        finally:
            process.kill()
            process.wait()
    end = run_folder.read(tmp_path / run_folder.END, run_folder.EndRecord)
    assert not end.complete
    assert loadtest(repo_root, "report", str(tmp_path)).returncode == 1


def test_a_damaged_clip_is_replayed_and_what_it_lost_is_said(repo_root: Path, tmp_path: Path) -> None:
    clip = repo_root / "tests/cases/damaged-middle.mp4"
    with fake_service(lambda number: Scripted(body=answer(width=WIDE, height=HIGH))) as service:
        arguments = ["replay", "--url", service.url, "--video", str(clip), "--out", str(tmp_path), "--seconds", "1"]
        done = loadtest(repo_root, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        assert service.posts == 53 + 20
    assert f"{clip}: damaged, 7 of its frames could not be read and are left out\n" in done.stderr
    assert "damaged, 7 frames could not be read and are left out" in (tmp_path / "index.html").read_text()


def test_neither_a_path_nor_a_file_nor_a_variable_changes_a_run(
    repo_root: Path, sample_video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkout whose path has all that breaks Locust's options and Python's, with settings for another Locust."""
    checkout, home = tmp_path / "Acme, Inc (1):2" / "it's", tmp_path / "home"
    checkout.mkdir(parents=True)
    home.mkdir()
    for package in ("loadtest", "framefleet"):
        shutil.copytree(repo_root / package, checkout / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(sample_video, checkout / "my clip, (1).mp4")
    foreign = "host = http://127.0.0.1:1\nvideo = other.mp4\nrun-time = 1s\nprocesses = 3\nusers = 0\n"
    (home / ".locust.conf").write_text(foreign)
    (checkout / "locust.conf").write_text(foreign)
    (checkout / "pyproject.toml").write_text('[tool.locust]\nusers = "many"\n')
    (checkout / "other").mkdir()
    (checkout / "other" / "gevent.py").write_text("raise SystemExit('another gevent')")
    for name, value in {"HOME": home, "LOCUST_USERS": "many", "PYTHONPATH": checkout / "other"}.items():
        monkeypatch.setenv(name, str(value))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with fake_service(lambda number: RIGHT) as service:
        done = loadtest(checkout, *replay_arguments(service.url, Path("my clip, (1).mp4"), Path("a run, of mine")))
        assert done.returncode == 0, done.stdout + done.stderr
        assert service.posts == FRAMES + 60
    assert verdicts(checkout / "a run, of mine") == {"same": 60}


@pytest.mark.parametrize("processes", [1, 2])
def test_plain_locust_works_and_checks_answers_too(
    repo_root: Path, sample_video: Path, tmp_path: Path, free_port: Callable[[], int], processes: int
) -> None:
    command = [sys.executable, "-m", "locust", "-f", "loadtest/generate/locustfile.py", "--headless", "--only-summary"]
    command += ["--csv", str(tmp_path / "csv"), "--html", str(tmp_path / "page.html")]
    command += ["--video", str(sample_video), "--max-frames", str(FRAMES)]
    if processes > 1:
        port = str(free_port())
        command += ["--processes", str(processes), "--master-port", port, "--master-bind-port", port]
        command += ["--master-bind-host", "127.0.0.1"]
    command += ["--cameras", "2", "--fps", "10", "--seconds", "2", "--run-dir", str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
    # An earlier run in this folder had more generators.
    earlier = Sample(camera=0, frame=0, scheduled_s=0.0, sent_s=0.0, done_s=0.1, status=200, verdict=Verdict.SAME)
    (tmp_path / run_folder.samples_name(7)).write_bytes(HEADER + Encoder().encode(earlier))
    for script, code in ((after_references(RIGHT), 0), (after_references(RIGHT, Scripted(status=503)), 1)):
        with fake_service(script) as service:
            done = subprocess.run(
                [*command, "--host", service.url],
                cwd=repo_root,
                env=environment,
                capture_output=True,
                text=True,
                timeout=LIMIT_S,
                check=False,
            )
        assert done.returncode == code, done.stderr
        assert "/v1/detect" in done.stdout + done.stderr
        failures = (tmp_path / "csv_failures.csv").read_text()
        assert ("shed with 503" in failures) == (code == 1)
        stats = (tmp_path / "csv_stats.csv").read_text()
        assert f"POST,/v1/detect,40,{20 * code}," in stats
        assert "/v1/detect" in (tmp_path / "page.html").read_text()
    assert verdicts(tmp_path) == {"same": 20, "shed": 20}


def test_locusts_web_page_can_start_stop_and_vary_runs(
    repo_root: Path, sample_video: Path, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    port = free_port()
    command = [sys.executable, "-m", "loadtest", "ui", "--video", str(sample_video), "--out", str(tmp_path)]
    command += ["--page-port", str(port), "--max-frames", str(FRAMES)]
    end = tmp_path / run_folder.END
    with fake_service(after_references(RIGHT)) as service, requests.Session() as browser:
        browser.trust_env = False
        process = subprocess.Popen([*command, "--url", service.url], cwd=repo_root, stderr=subprocess.DEVNULL)

        def swarm(cameras: int, seconds: int) -> None:
            form = {"user_count": 1, "spawn_rate": 1, "cameras": cameras, "fps": 10, "seconds": seconds}
            page = f"http://127.0.0.1:{port}/swarm"
            assert browser.post(page, data=form, timeout=LIMIT_S).json()["success"]

        try:
            wait_until(lambda: answers(browser, port))
            swarm(cameras=3, seconds=1)
            wait_until(lambda: run_folder.read_end(tmp_path) is not None)
            assert verdicts(tmp_path) == {"same": 30}
            swarm(cameras=1, seconds=600)
            wait_until(lambda: service.posts > 2 * FRAMES + 30 + 3)
            assert not end.exists()
            browser.post(f"http://127.0.0.1:{port}/stop", timeout=LIMIT_S)
            # Not as soon as it exists: it may be there before it is written.
            wait_until(lambda: run_folder.read_end(tmp_path) is not None)
            assert not run_folder.read(end, run_folder.EndRecord).complete
        finally:
            process.terminate()
            process.wait(LIMIT_S)


def answers(browser: requests.Session, port: int) -> bool:
    try:
        return browser.get(f"http://127.0.0.1:{port}/", timeout=LIMIT_S).ok
    except requests.ConnectionError:
        return False


def test_references_of_other_frames_are_refused(sample_video: Path, tmp_path: Path) -> None:
    few, more = (ReplayOptions(video=str(sample_video), max_frames=count) for count in (2, 3))
    with fake_service(lambda number: RIGHT) as service:
        work = prepare.load(few)
        taken = prepare.lead(few, work, service.url, tmp_path)
        assert prepare.lead(few, work, service.url, tmp_path, tmp_path / run_folder.REFERENCES) == taken
        assert service.posts == 2
        with pytest.raises(RunError, match="references of other frames"):
            prepare.lead(more, prepare.load(more), service.url, tmp_path, tmp_path / run_folder.REFERENCES)


def test_a_second_run_replaces_the_first_and_nothing_else(tmp_path: Path) -> None:
    ours = ("samples-0.bin", "samples-3.bin", run_folder.REPORT, "annotated.mp4", "locust_stats.csv")
    for name in (*ours, "notes.txt"):
        (tmp_path / name).write_text("old")
    run_folder.clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file/run: .*; give another folder with --out"):
        run_folder.clear(tmp_path / "file" / "run")


def test_a_locust_that_breaks_is_reported_with_its_last_error(tmp_path: Path) -> None:
    (tmp_path / run_folder.LOCUST_LOG).write_text("INFO: fine\nERROR: video is gone\nINFO: bye\n")
    broken = subprocess.Popen([sys.executable, "-c", "raise SystemExit(2)"])
    broken.wait(LIMIT_S)
    with pytest.raises(RunError, match="Locust ended with code 2: ERROR: video is gone"):
        replay.check_end(broken, tmp_path)


def test_records_survive_the_disk(tmp_path: Path) -> None:
    end = run_folder.EndRecord(True, 30.5, 0.25)
    run_folder.write(end, tmp_path / "end.json")
    assert run_folder.read(tmp_path / "end.json", run_folder.EndRecord) == end
    assert msgspec.json.decode((tmp_path / "end.json").read_bytes())["complete"] is True
