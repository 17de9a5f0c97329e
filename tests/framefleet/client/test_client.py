import argparse
import json
import resource
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import cv2
import numpy as np
import pytest

from framefleet.client.__main__ import Tally, main, run
from framefleet.client.sender import Answer, SendError, detect_in_order
from framefleet.client.sources import Frame, Frames, Incomplete, MediaError, Source
from framefleet.draw import Pixels
from framefleet.video import VideoFile
from framefleet.wire.answers import Detection
from tests.instance import running_instance
from tests.service.camera import Resource, running_camera, stream
from tests.service.stub import Reply, running_stub

CASES = Path("tests/cases")
# SIGINT may be ignored where the tests run in the background; the client under test starts as from a terminal.
AS_FROM_A_TERMINAL = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('framefleet.client', run_name='__main__')"
)


@pytest.fixture(scope="module")
def service(
    default_model: Path, free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Address of a real instance with the default model."""
    log = tmp_path_factory.mktemp("client") / "log"
    with running_instance(free_port(), default_model, log, instance="gpu0") as instance:
        yield instance.url


@pytest.fixture
def first_frame(sample_video: Path, tmp_path: Path) -> Path:
    capture = cv2.VideoCapture(str(sample_video))
    path = tmp_path / "frame.png"
    assert cv2.imwrite(str(path), capture.read()[1])
    capture.release()
    return path


def numbered(count: int, closed: Event | None = None) -> Frames:
    try:
        for index in range(count):
            yield Frame(index, "test", np.full((2, 2, 3), index, np.uint8))
    finally:
        if closed:
            closed.set()


def read_lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def boxes(path: Path) -> list[list[float]]:
    """Corners of every detection of the first frame."""
    detections = read_lines(path)[0]["detections"]
    assert isinstance(detections, list)
    return [detection["box"] for detection in detections]


def test_video_is_saved_annotated_and_summed_up(
    service: str, sample_video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved, lines = tmp_path / "out.mp4", tmp_path / "out.jsonl"

    code = main([str(sample_video), "--url", service, "--save", str(saved), "--json", str(lines), "-v"])

    printed = capsys.readouterr().out
    capture = cv2.VideoCapture(str(saved))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    capture.release()
    assert code == 0
    assert len(frames) == 120
    assert [line["frame"] for line in read_lines(lines)] == list(range(120))
    assert printed.count("\nframe ") == 119, "one line per frame, in order"
    assert printed.startswith("frame 0: 1 found, ")
    for part in ("frames      120 in", "latency     p50", "server      decode", "infer", "instances   gpu0 120"):
        assert part in printed
    greenest = frames[0].astype(int)[..., 1] - frames[0].astype(int)[..., 2]
    assert greenest[33:96, 63:69].max() > 120, "the face's left edge is drawn"


def test_raw_and_jpeg_find_the_same_face(service: str, sample_video: Path, tmp_path: Path) -> None:
    jpeg, raw = tmp_path / "jpeg.jsonl", tmp_path / "raw.jsonl"

    for arguments in (["--json", str(jpeg)], ["--json", str(raw), "--raw"]):
        assert main([str(sample_video), "--url", service, "--limit", "1", *arguments]) == 0

    assert len(boxes(jpeg)) == 1
    np.testing.assert_allclose(boxes(jpeg), boxes(raw), rtol=0, atol=2)


def test_raw_shows_class_numbers_or_given_names(
    service: str, first_frame: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("T01\nT02_1\n")

    assert main([str(first_frame), "--url", service, "--raw"]) == 0
    assert main([str(first_frame), "--url", service, "--raw", "--names", str(names)]) == 0

    printed = capsys.readouterr().out
    assert "detections  1: class 0 1\n" in printed
    assert "detections  1: T01 1\n" in printed


def test_picture_is_saved_with_its_box(service: str, first_frame: Path, tmp_path: Path) -> None:
    saved = tmp_path / "out.png"

    assert main([str(first_frame), "--url", service, "--save", str(saved)]) == 0

    before, after = cv2.imread(str(first_frame)), cv2.imread(str(saved))
    assert before is not None and after is not None
    assert before.shape == after.shape
    changed = np.any(before != after, axis=2)
    assert changed[40:90, 64:68].all(axis=0).any(), "the left edge of the face's box"
    assert not changed[45:85, 72:105].any(), "the face itself is left alone"


def test_threshold_reaches_the_service(service: str, first_frame: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(first_frame), "--url", service, "--conf", "0.99"]) == 0

    assert "detections  0\n" in capsys.readouterr().out


def test_refusal_ends_with_the_problems_detail(
    service: str, first_frame: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(first_frame), "--url", f"{service}/elsewhere"]) == 1

    error = capsys.readouterr().err
    assert error.startswith(f"client: {service}/elsewhere/v1/detect: answered 404")
    assert error.count("\n") == 1


def test_overload_is_waited_out_and_told_once(sample_video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    busy = Reply(503, b'{"detail": "the queue is full"}', {"Retry-After": "0"})
    with running_stub(busy, busy, Reply(), busy, Reply()) as stub:
        code = main([str(sample_video), "--url", stub.url, "--limit", "6", "--in-flight", "2"])

    printed = capsys.readouterr()
    assert code == 0
    assert len(stub.bodies) == 9
    assert ", 3 sent again\n" in printed.out
    assert printed.err == f"client: {stub.url}: answered 503 Service Unavailable: the queue is full; trying again\n"


def test_failure_keeps_and_sums_up_what_was_answered(
    sample_video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "out.mp4"
    with running_stub(Reply(), Reply(), Reply(422, b'{"detail": "no"}')) as stub:
        code = main([str(sample_video), "--url", stub.url, "--in-flight", "1", "--save", str(saved)])

    printed = capsys.readouterr()
    assert code == 1
    assert "answered 422" in printed.err
    assert "frames      2 in" in printed.out
    assert int(cv2.VideoCapture(str(saved)).get(cv2.CAP_PROP_FRAME_COUNT)) == 2


def test_interrupt_ends_at_once_with_the_summary_and_a_whole_video(sample_video: Path, tmp_path: Path) -> None:
    saved = tmp_path / "out.mp4"
    with running_stub() as stub:
        stub.ungated = 3
        command = [sys.executable, "-c", AS_FROM_A_TERMINAL, str(sample_video), "--url", stub.url]
        command += ["--in-flight", "1", "--save", str(saved)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
            try:
                stub.wait_for_requests(4)
                client.send_signal(signal.SIGINT)
                out, error = client.communicate(timeout=30)
                assert not stub.gate.is_set(), "a request was still on its way"
            finally:
                client.kill()

    assert client.returncode == 130
    assert error == "client: interrupted\n"
    assert "frames      3 in" in out
    assert int(cv2.VideoCapture(str(saved)).get(cv2.CAP_PROP_FRAME_COUNT)) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.mp4"], "client: missing.mp4: no such file"),
        (["missing.mp4", "--quality", "0"], "argument --quality: '0' is not a whole number, 1 to 100"),
        (["missing.mp4", "--in-flight", "1.5"], "'1.5' is not a whole number, 1 to 64"),
        (["missing.mp4", "--conf", "nan"], "'nan' is not a number, 0 to 1"),
        (["missing.mp4", "--limit", "0"], "'0' is not a whole number, at least 1"),
        (["missing.mp4", "--url", "localhost:8080"], "--url: localhost:8080 is no address; expected http://HOST:PORT"),
        (["missing.mp4", "--url", "https://127.0.0.1:1", "--cacert", "no.pem"], "--cacert no.pem: no such file"),
        (["missing.mp4", "--raw", "--conf", "0.5"], "--conf: the first protocol's threshold is fixed"),
        (["missing.mp4", "--names", "n.txt"], "--names: only --raw needs names"),
    ],
)
def test_wrong_arguments_exit_2_with_one_clear_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(arguments)
    except SystemExit as ended:
        code = int(ended.code or 0)

    assert code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_unreadable_video_is_one_line_without_the_libraries_remarks(tmp_path: Path) -> None:
    video = tmp_path / "text.mp4"
    video.write_text("no video")

    # Its own process: FFmpeg reads its log level when the first file is opened.
    client = subprocess.run(
        [sys.executable, "-m", "framefleet.client", str(video)], capture_output=True, text=True, timeout=60, check=False
    )

    assert (client.returncode, client.stdout) == (2, "")
    assert client.stderr.startswith(f"client: {video}: no video that OpenCV can read")
    assert client.stderr.count("\n") == 1


def test_answers_keep_the_frames_order_with_several_in_flight() -> None:
    turns = {index: Event() for index in range(-1, 4)}
    first_four_sent = Event()

    def send_backwards(pixels: Pixels) -> Answer:
        index = int(pixels[0, 0, 0])
        if index == 3:
            first_four_sent.set()
        if index < 3:  # frame 3 answers first, then 2, 1, 0
            assert turns[index].wait(30)
        turns[index - 1].set() if index < 4 else None
        return Answer([Detection(str(index), index, 1, (0, 0, 1, 1))], 1)

    results = list(detect_in_order(numbered(8), send_backwards, in_flight=4, limit=None, stopped=Event()))

    assert first_four_sent.is_set()
    assert [result.frame.index for result in results] == list(range(8))
    assert [result.answer.detections[0].label for result in results] == [str(index) for index in range(8)]


@pytest.mark.parametrize("limit", [3, None])
def test_source_is_closed_and_threads_are_stopped_at_the_end(limit: int | None) -> None:
    closed, stopped = Event(), Event()

    results = list(
        detect_in_order(numbered(5, closed), lambda pixels: Answer([], 1), in_flight=2, limit=limit, stopped=stopped)
    )

    assert len(results) == (limit or 5)
    assert closed.is_set() and stopped.is_set()


def test_first_failed_frame_ends_the_run_and_frees_the_others() -> None:
    closed, stopped = Event(), Event()

    def send(pixels: Pixels) -> Answer:
        if pixels[0, 0, 0] == 1:
            raise SendError("frame 1")
        if pixels[0, 0, 0] > 1:
            assert stopped.wait(30), "waits of other frames must end with the run"
        return Answer([], 1)

    with pytest.raises(SendError, match="frame 1"):
        list(detect_in_order(numbered(100, closed), send, in_flight=4, limit=None, stopped=stopped))

    assert closed.is_set()


def test_rate_is_that_of_the_latest_answers() -> None:
    seconds = iter([0.0, 0.5, 1.0, 1.5, 2.0, 2.5])

    results = list(
        detect_in_order(
            numbered(5),
            lambda pixels: Answer([], 1),
            in_flight=1,
            limit=None,
            stopped=Event(),
            clock=lambda: next(seconds),
        )
    )

    assert [result.fps for result in results] == pytest.approx([2.0] * 5)


def test_an_address_with_a_password_is_refused_and_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["clip.mp4", "--url", "http://any:s3cret@127.0.0.1:8080"])
    said = capsys.readouterr().err
    assert "set FLEET_API_KEY" in said and "s3cret" not in said


def frames_of(path: Path) -> int:
    with VideoFile(path) as video:
        return sum(1 for _ in video.shots())


def test_a_damaged_clip_is_read_on_behind_the_damage_and_what_is_lost_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved, lines = tmp_path / "out.mp4", tmp_path / "out.jsonl"
    damaged = CASES / "damaged-middle.mp4"
    with running_stub() as stub:
        code = main([str(damaged), "--url", stub.url, "--save", str(saved), "--json", str(lines)])
        within = main([str(damaged), "--url", stub.url, "--limit", "10"])

    printed = capsys.readouterr()
    assert (code, within) == (3, 0)
    assert printed.err == (
        f"client: {damaged}: 7 of its 60 frames cannot be read, 53 were sent; the file is damaged or breaks off\n"
    )
    assert "frames      53 in" in printed.out and f"saved       {saved}\n" in printed.out
    assert frames_of(saved) == len(read_lines(lines)) == 53


def test_unreadable_pictures_of_a_folder_are_passed_over_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, saved = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    whole = (CASES / "clean.jpg").read_bytes()
    for name, content in {"a.jpg": whole, "b.jpg": whole[:5000], "c.png": b"", "d.jpg": whole}.items():
        (folder / name).write_bytes(content)
    with running_stub() as stub:
        code = main([str(folder), "--url", stub.url, "--save", str(saved)])

    assert code == 3
    assert "2 of its 4 pictures cannot be read (b.jpg, c.png); 2 were sent" in capsys.readouterr().err
    assert sorted(path.name for path in saved.iterdir()) == ["a.jpg", "d.jpg"]


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".avi", ".jpg", ".png", ""])
@pytest.mark.parametrize("limit_bytes", [0, 100, 9000])
def test_a_full_disk_is_no_success_and_leaves_nothing_broken(tmp_path: Path, suffix: str, limit_bytes: int) -> None:
    """The limit on a file's size stands for the disk's end: writes fail from there on."""
    clip, picture, saved = CASES / "damaged-middle.mp4", CASES / "clean.jpg", tmp_path / f"out{suffix}"
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(picture.read_bytes())
    source = {".jpg": picture, ".png": picture, "": folder}.get(suffix, clip)
    if suffix:
        saved.write_bytes(b"of the last run")
    with running_stub() as stub:
        client = subprocess.run(
            [sys.executable, "-m", "framefleet.client", source, "--url", stub.url, "--save", saved, "--limit", "15"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes)),
        )

    assert client.returncode == 1, client.stdout + client.stderr
    assert "saved " not in client.stdout
    assert "client: --save " in client.stderr and "ree some space" in client.stderr
    assert "Traceback" not in client.stderr
    kept = [path.name for path in tmp_path.rglob("*") if path.is_file() and path.parent != folder]
    assert kept == ([saved.name] if suffix else [])
    assert not suffix or saved.read_bytes() == b"of the last run"


def test_lines_that_cannot_be_written_are_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    with running_stub() as stub:
        code = main([str(CASES / "clean.jpg"), "--url", stub.url, "--json", "/dev/full"])
    assert code == 1
    assert "client: --json /dev/full: cannot be written (No space left on device)" in capsys.readouterr().err


JPEG = (CASES / "clean.jpg").read_bytes()


@pytest.mark.parametrize(
    "answered",
    [
        Resource("image/jpeg", JPEG, len(JPEG)),
        Resource("Image/JPEG; charset=binary", JPEG),
        Resource("application/octet-stream", JPEG, len(JPEG)),
    ],
)
def test_a_snapshot_address_is_one_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], answered: Resource
) -> None:
    path = "/cgi/snapshot.jpg?channel=1&size=2"
    with running_camera({path: answered}) as camera, running_stub() as stub:
        code = main([camera + path, "--url", stub.url, "--save", str(tmp_path / "detect.mp4")])

    printed = capsys.readouterr()
    assert (code, printed.err) == (0, "")
    assert "frames      1 in" in printed.out
    assert f"saved       {tmp_path / 'detect.jpg'}\n" in printed.out
    assert [path.name for path in tmp_path.iterdir()] == ["detect.jpg"]


@pytest.mark.parametrize("kind", ["application/octet-stream", "text/plain", "", "binary"])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_snapshot_is_known_by_what_it_is_where_its_address_does_not_tell(
    capsys: pytest.CaptureFixture[str], kind: str, suffix: str
) -> None:
    pixels = cv2.imdecode(np.frombuffer(JPEG, np.uint8), cv2.IMREAD_COLOR)
    body = cv2.imencode(suffix, np.asarray(pixels))[1].tobytes()
    with running_camera({"/cgi?a=1": Resource(kind, body, len(body))}) as camera, running_stub() as stub:
        code = main([camera + "/cgi?a=1", "--url", stub.url])

    printed = capsys.readouterr()
    assert (code, printed.err, len(stub.bodies)) == (0, "", 1)


@pytest.mark.parametrize(
    ("answered", "exit_code", "sent", "message"),
    [
        (stream([JPEG] * 7), 3, 7, "/live: the stream ended after 7 frames; check the camera"),
        (stream([]), 2, 0, "/live: camera or stream cannot be opened"),
        (Resource("image/jpeg", JPEG[:9000], len(JPEG)), 2, 0, "/live: answers no whole picture"),
        (Resource("image/jpeg", b"no picture", 10), 2, 0, "/live: answers no whole picture"),
        (Resource("application/octet-stream", JPEG[:9000], len(JPEG)), 3, 1, "/live: the stream ended after 1 frames"),
        (Resource("application/octet-stream", b"", 0), 2, 0, "/live: camera or stream cannot be opened"),
        (Resource("text/html", b"<html>", 6), 2, 0, "/live: camera or stream cannot be opened"),
    ],
    ids=[
        "camera",
        "camera without a frame",
        "half a snapshot",
        "no snapshot",
        "half a snapshot without a type",
        "nothing",
        "page",
    ],
)
def test_a_source_behind_an_address_that_breaks_off_is_no_success(
    capsys: pytest.CaptureFixture[str], answered: Resource, exit_code: int, sent: int, message: str
) -> None:
    with running_camera({"/live": answered}) as camera, running_stub() as stub:
        address = camera.replace("//", "//user:s3cret@") + "/live"
        code = main([address, "--url", stub.url])

    printed = capsys.readouterr()
    assert (code, len(stub.bodies)) == (exit_code, sent)
    assert message in printed.err and "s3cret" not in printed.err + printed.out


def test_a_clip_behind_an_address_has_an_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "a.webm"), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"VP80"), 25, (64, 48))
    dice = np.random.default_rng(1)
    for _ in range(60):
        writer.write(dice.integers(0, 256, (48, 64, 3), np.uint8))
    writer.release()
    clip = (tmp_path / "a.webm").read_bytes()
    whole = Resource("video/webm", clip, len(clip))
    half = Resource("video/webm", clip[: len(clip) // 2], len(clip))
    with running_camera({"/whole": whole, "/half": half}) as camera, running_stub() as stub:
        codes = [main([camera + path, "--url", stub.url]) for path in ("/whole", "/half")]

    printed = capsys.readouterr()
    assert codes == [0, 3]
    assert "frames      60 in" in printed.out
    assert "of about 60 frames" in printed.err


def test_a_source_without_a_frame_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    options = argparse.Namespace(json=None, limit=None, in_flight=1, verbose=False)
    source = Source("empty", "video", None, 25, lambda: numbered(0))
    with pytest.raises(MediaError, match="empty: no frame in it"):
        run(options, source, send=lambda pixels: Answer([], 1), sinks=[], tally=Tally(), stopped=Event())  # type: ignore[arg-type]


def test_what_a_source_lacks_is_said_behind_all_answers() -> None:
    def lacking() -> Frames:
        yield from numbered(5)
        raise Incomplete("two are missing")

    given: list[int] = []
    with pytest.raises(Incomplete, match="two are missing"):
        for result in detect_in_order(
            lacking(), lambda pixels: Answer([], 1), in_flight=8, limit=None, stopped=Event()
        ):
            given.append(result.frame.index)
    assert given == list(range(5))


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with running_stub() as stub:
        assert main([str(CASES / "clean.jpg"), "--url", stub.url]) == 0


@pytest.mark.parametrize("verbose", [[], ["-v"]], ids=["summary", "every frame"])
@pytest.mark.parametrize(
    ("output", "said"),
    [("| head -c 1", ""), ("> /dev/full", "client: standard output: no space left on device; make room")],
)
def test_output_that_nobody_reads_or_that_is_full_is_no_traceback(
    sample_video: Path, output: str, said: str, verbose: list[str]
) -> None:
    with running_stub() as stub:
        command = shlex.join(
            [sys.executable, "-m", "framefleet.client", str(sample_video), "--url", stub.url, *verbose]
        )
        shell = ["bash", "-c", f"set -o pipefail; {command} {output}"]
        client = subprocess.run(shell, capture_output=True, text=True, timeout=60, check=False)

    assert client.stderr.startswith(said) if said else client.stderr == ""
    assert "Traceback" not in client.stderr
    assert client.returncode == 1 or not said  # what is short is written before `head` hangs up


def test_without_a_fleet_and_an_address_both_are_named(
    first_frame: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(first_frame), "--var", str(tmp_path)]) == 2
    assert f"no fleet runs in {tmp_path}; start one with `make up`" in capsys.readouterr().err
