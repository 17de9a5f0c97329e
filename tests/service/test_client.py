import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import cv2
import numpy as np
import pytest

from service.client import detect_in_order, main
from service.draw import LabelledBox, Pixels
from service.sender import Answer, SendError
from service.video import Frame, Frames
from tests.instance import running_instance
from tests.service.stub import Reply, running_stub

# SIGINT may be ignored where the tests run in the background; the client under test starts as from a terminal.
AS_FROM_A_TERMINAL = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('service.client', run_name='__main__')"
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
        [sys.executable, "-m", "service.client", str(video)], capture_output=True, text=True, timeout=60, check=False
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
        return Answer([LabelledBox(str(index), index, 1, (0, 0, 1, 1))], 1)

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


def test_without_a_fleet_and_an_address_both_are_named(
    first_frame: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(first_frame), "--var", str(tmp_path)]) == 2
    assert f"no fleet runs in {tmp_path}; start one with `make up`" in capsys.readouterr().err
