"""The page is made from the run folder alone and needs nothing else."""

import json
import re
from pathlib import Path

import pytest

from loadtest.errors import RunError
from loadtest.measure import run_folder
from loadtest.measure.faults import Fault
from loadtest.measure.samples import Sample
from loadtest.report import results, table
from loadtest.report.progress import Progress
from loadtest.target.verdict import Verdict
from tests.loadtest.builders import make_run, sample
from tests.loadtest.page_reader import Page


def made(folder: Path, video: Path, rows: list[Sample], faults: tuple[Fault, ...] = ()) -> Page:
    make_run(folder, video, rows, faults)
    page = results.write_report(results.read(folder), folder, Progress())
    assert page == folder / "index.html"
    return Page(page.read_text(encoding="utf-8"))


@pytest.fixture
def good_rows() -> list[Sample]:
    return [sample(n, latency_ms=20 + n % 7, instance=f"gpu{n % 2}") for n in range(40)]


def test_the_page_is_self_contained(tmp_path: Path, sample_video: Path, good_rows: list[Sample]) -> None:
    page = made(tmp_path, sample_video, good_rows)
    foreign = [link for link in page.links if not link.startswith(("data:", "#"))]
    assert set(foreign) == {"annotated.webm"}
    assert (tmp_path / "annotated.webm").stat().st_size > 1000
    style = re.findall(r"url\(([^)]+)\)|@import", (tmp_path / "index.html").read_text())
    assert all(target.startswith("#") for target in style)
    assert "script" not in page.tags


def test_the_page_is_well_formed_and_its_ids_are_unique(
    tmp_path: Path, sample_video: Path, good_rows: list[Sample]
) -> None:
    page = made(tmp_path, sample_video, good_rows)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links if link.startswith("#")} <= set(page.ids)


def test_the_page_shows_figures_plots_and_pictures(tmp_path: Path, sample_video: Path, good_rows: list[Sample]) -> None:
    page = made(tmp_path, sample_video, good_rows)
    for words in (
        "✓ Passed: all 40 answers were the same as without load",
        "2 instances answered 10.0 of 10.0 frames/s from 1 camera at 10 frames/s",
        "gpu0",
        "50.0 %",
        "centerface-320",
        "Where the time goes",
    ):
        assert words in page.words
    assert page.tags.count("svg") == 3
    assert (page.tags.count("img"), page.tags.count("video")) == (1, 1)
    described = " ".join(page.labels)
    assert "95 % within 26.0 ms" in described
    assert "face 0.90" in described


def test_no_token_colour_is_left_in_the_plots(tmp_path: Path, sample_video: Path, good_rows: list[Sample]) -> None:
    made(tmp_path, sample_video, good_rows)
    text = (tmp_path / "index.html").read_text()
    assert not re.findall(r"#000[0-9a-f]{3}\b", text)
    assert "var(--series-0)" in text and "var(--series-1)" in text


def test_a_failed_run_says_why(tmp_path: Path, sample_video: Path, good_rows: list[Sample]) -> None:
    rows = [
        *good_rows,
        sample(40, verdict=Verdict.CHANGED),
        sample(41, verdict=Verdict.SHED, status=503),
        sample(42, verdict=Verdict.FAILED, status=500),
        sample(43, verdict=Verdict.DROPPED),
    ]
    fault = Fault(0, 40, 4.0, Verdict.CHANGED, "gpu<1>", "replay-0-4.000", "missing face 0.900 & more")
    page = made(tmp_path, sample_video, rows, (fault,))
    assert (
        "✗ Failed: answers that differ from those without load: 1; failed requests: 1; shed with 503: 1; never sent"
        in page.words
    )
    assert "missing face 0.900 & more" in page.words
    assert "gpu<1>" in page.words
    assert "1 x status 500" in page.words
    assert "The times are not a valid measurement" in page.words


def test_a_run_without_a_right_answer_still_has_a_page(tmp_path: Path, sample_video: Path) -> None:
    page = made(tmp_path, sample_video, [sample(n, verdict=Verdict.FAILED, status=0) for n in range(5)])
    assert "got no answer as without load" in page.words
    assert page.tags.count("svg") == 1


def test_one_answer_is_enough_for_a_page(tmp_path: Path, sample_video: Path) -> None:
    assert made(tmp_path, sample_video, [sample(0)]).tags.count("svg") == 3


def test_stalls_are_shown_on_a_logarithmic_scale(tmp_path: Path, sample_video: Path) -> None:
    rows = [sample(n, latency_ms=20 if n % 10 else 4000) for n in range(40)]
    assert made(tmp_path, sample_video, rows).tags.count("svg") == 3


def test_a_simulated_accelerator_is_labelled(tmp_path: Path, sample_video: Path, good_rows: list[Sample]) -> None:
    make_run(tmp_path, sample_video, good_rows)
    path = tmp_path / run_folder.RUN
    path.write_text(path.read_text().replace('"onnxruntime"', '"simulated"'))
    results.write_report(results.read(tmp_path), tmp_path, Progress())
    assert "Simulated accelerator" in Page((tmp_path / "index.html").read_text()).words


def test_the_same_folder_gives_the_same_page(tmp_path: Path, sample_video: Path, good_rows: list[Sample]) -> None:
    made(tmp_path, sample_video, good_rows)
    first = (tmp_path / "index.html").read_text()
    results.write_report(results.read(tmp_path), tmp_path, Progress())
    assert (tmp_path / "index.html").read_text() == first


def test_the_summary_is_there_for_machines_too(tmp_path: Path, sample_video: Path, good_rows: list[Sample]) -> None:
    made(tmp_path, sample_video, good_rows)
    document = json.loads((tmp_path / "summary.json").read_text())
    assert document["counts"]["same"] == 40
    assert document["latency"]["p95"] == pytest.approx(26.0)


def test_without_the_video_the_figures_stand_alone(tmp_path: Path, sample_video: Path, good_rows: list[Sample]) -> None:
    video = tmp_path / "mine.mp4"
    video.write_bytes(sample_video.read_bytes())
    make_run(tmp_path / "run", video, good_rows)
    video.unlink()
    results.write_report(results.read(tmp_path / "run"), tmp_path / "run", Progress())
    page = Page((tmp_path / "run" / "index.html").read_text())
    assert page.tags.count("svg") == 3
    assert (page.tags.count("img"), page.tags.count("video")) == (0, 0)
    assert "mine.mp4: no such video" in page.words


def test_another_video_under_the_same_name_is_noticed(
    tmp_path: Path, sample_video: Path, good_rows: list[Sample]
) -> None:
    video = tmp_path / "mine.mp4"
    video.write_bytes(sample_video.read_bytes())
    make_run(tmp_path / "run", video, good_rows)
    video.write_bytes((sample_video.parent / "bikes.mp4").read_bytes())
    results.write_report(results.read(tmp_path / "run"), tmp_path / "run", Progress())
    assert "not the video of this run any more" in Page((tmp_path / "run" / "index.html").read_text()).words


def test_a_killed_run_can_still_be_reported(tmp_path: Path, sample_video: Path, good_rows: list[Sample]) -> None:
    make_run(tmp_path, sample_video, good_rows)
    (tmp_path / run_folder.END).unlink()
    results.write_report(results.read(tmp_path), tmp_path, Progress())
    assert "the generator used unknown" in Page((tmp_path / "index.html").read_text()).words


@pytest.mark.parametrize("name", [run_folder.RUN, run_folder.samples_name(0), run_folder.REFERENCES])
def test_a_missing_file_is_named(tmp_path: Path, sample_video: Path, good_rows: list[Sample], name: str) -> None:
    make_run(tmp_path, sample_video, good_rows)
    (tmp_path / name).unlink()
    with pytest.raises(RunError, match="samples|" + re.escape(name)):
        results.read(tmp_path)


def test_a_clip_without_detections_is_named_on_the_page_and_in_the_table(
    tmp_path: Path, sample_video: Path, good_rows: list[Sample]
) -> None:
    make_run(tmp_path, sample_video, good_rows)
    path = tmp_path / run_folder.REFERENCES
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"detections": [[] for _ in document["detections"]]}))
    found = results.read(tmp_path)
    results.write_report(found, tmp_path, Progress())
    words = Page((tmp_path / "index.html").read_text()).words
    assert "Keep in mind" in words
    assert "that answers stay the same proves little" in words
    assert "note: the service finds something in no frame of the clip" in table.render(found.summary)


def test_clients_of_a_closed_loop_are_given_no_rate(
    tmp_path: Path, sample_video: Path, good_rows: list[Sample]
) -> None:
    make_run(tmp_path, sample_video, good_rows)
    path = tmp_path / run_folder.RUN
    path.write_text(path.read_text().replace('"arrivals": "cameras"', '"arrivals": "closed"'))
    results.write_report(results.read(tmp_path), tmp_path, Progress())
    words = Page((tmp_path / "index.html").read_text()).words
    assert "from 1 client that waits for each answer, 95 %" in words
    assert "1 camera at" not in words
