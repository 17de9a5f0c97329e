"""The same frame means the same in every payload."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from framefleet.wire.answers import Detection
from loadtest.frames.payloads import PAYLOADS
from loadtest.generate import prepare
from loadtest.generate.steps import StepOptions, run_step
from loadtest.measure import sample_files
from loadtest.options import ReplayOptions
from loadtest.report.progress import Progress
from loadtest.target.target import Target
from tests.instance import RunningInstance, running_instance


@pytest.fixture(scope="module")
def instance(
    default_model: Path, free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningInstance]:
    log = tmp_path_factory.mktemp("instance") / "log"
    with running_instance(free_port(), default_model, log, instance="gpu0") as running:
        yield running


def options(video: Path, payload: str) -> ReplayOptions:
    return ReplayOptions(video=str(video), payload=payload, max_frames=2, cameras=1, fps=4, seconds=2)


def found(instance: RunningInstance, video: Path, payload: str) -> list[tuple[Detection, ...]]:
    wanted = options(video, payload)
    with Target(instance.url, wanted.wait_s) as target:
        return list(prepare.take_references(wanted, prepare.load(wanted), target).detections)


@pytest.mark.parametrize("payload", [name for name in PAYLOADS if name != "base64"])
def test_the_answer_does_not_depend_on_the_payload(instance: RunningInstance, sample_video: Path, payload: str) -> None:
    assert found(instance, sample_video, payload) == found(instance, sample_video, "jpeg")
    assert any(found(instance, sample_video, payload))


def test_the_first_servers_protocol_answers_the_same_boxes_rounded(
    instance: RunningInstance, sample_video: Path
) -> None:
    first, native = (found(instance, sample_video, payload) for payload in ("base64", "jpeg"))
    for old, new in zip(first, native, strict=True):
        for one, other in zip(old, new, strict=True):
            assert (one.label, one.class_id) == ("0", 0)
            assert one.box == pytest.approx(other.box, abs=0.51)
            assert one.score == pytest.approx(other.score, abs=0.0051)


@pytest.mark.parametrize("payload", ["base64", "multipart"])
def test_a_payload_is_right_under_load_too(
    instance: RunningInstance, sample_video: Path, tmp_path: Path, payload: str
) -> None:
    made = run_step(instance.url, StepOptions("step", options(sample_video, payload), tmp_path), Progress())
    assert (made.counts.offered, made.counts.ok) == (8, 8)
    assert set(sample_files.read(tmp_path)["instance"].tolist()) == {"gpu0"}
