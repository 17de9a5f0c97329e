"""The cost of a batch, typed by a person, makes a plan that says that it was typed."""

from dataclasses import replace

import pytest

from loadtest.errors import OptionError
from loadtest.plan import typed
from loadtest.plan.fleet_model import Model
from loadtest.plan.typed import BatchCost, Typed
from tests.loadtest.capacity.builders import capacity, provenance, row

COST = Typed(BatchCost(4.0, 1.2), 8)


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        ("4 + 1.2n", (4.0, 1.2)),
        ("4+1.2n", (4.0, 1.2)),
        ("4 + 1.2 n", (4.0, 1.2)),
        ("1.2n + 4", (4.0, 1.2)),
        ("4 + 1.2*n", (4.0, 1.2)),
        ("4 + 1.2 * N", (4.0, 1.2)),
        ("4 ms + 1.2 ms n", (4.0, 1.2)),
        ("  4.00+.5n ", (4.0, 0.5)),
        ("5", (5.0, 0.0)),
        ("5 ms", (5.0, 0.0)),
        ("3n", (0.0, 3.0)),
        ("n", (0.0, 1.0)),
        ("2 + n", (2.0, 1.0)),
    ],
)
def test_a_cost_is_read_as_people_write_it(text: str, cost: tuple[float, float]) -> None:
    assert typed.parse(text) == BatchCost(*cost)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "+",
            "4 +",
            "+ 4",
            "4 + 5",
            "1n + 2n",
            "4 + 1n + 2",
            "4 - 1n",
            "-4 + 1n",
            "4,5 + 1n",
            "4 1.2n",
            "4 + n2",
        ),
        *(
            "4 + 1.2m",
            "fast",
            "nan",
            "inf",
            "1e308",
            "1e-300 + 1e-300n",
            "4 + *n",
            "n*4",
            "4;n",
            "4 + 1.2n\n5",
            "\u0664 + \u0661n",
        ),
    ],
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(OptionError, match=r'write the ms of one batch of n frames as "4 \+ 1.2n"'):
        typed.parse(text)


@pytest.mark.parametrize("text", ["0", "0 + 0n", "0.001", "60001", "9" * 400, "0." + "0" * 400 + "1"])
def test_a_time_that_no_batch_takes_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match=r"for one frame; must be 0.01 to 60,000"):
        typed.parse(text)


@pytest.mark.parametrize(
    ("a_ms", "b_ms", "limit_ms", "least", "most"),
    [(0, 10, 1000, 90, 100), (10, 1, 1000, 420, 445), (10, 0, 1000, 760, 800)],
    ids=["frame by frame", "batches", "batches cost the same"],
)
def test_what_an_instance_holds_is_what_its_batches_allow(
    a_ms: float, b_ms: float, limit_ms: float, least: float, most: float
) -> None:
    assert least <= typed.held_fps(Model(a_ms, b_ms, 0.0, 8, 64, 0.0), limit_ms) <= most


@pytest.mark.parametrize(("text", "shown"), [("1.2n+4", "4 + 1.2n ms"), ("5", "5 ms"), ("3 n", "3n ms")])
def test_a_cost_is_shown_as_it_is_read(text: str, shown: str) -> None:
    assert str(typed.parse(text)) == shown
    assert str(typed.parse(shown.removesuffix(" ms"))) == shown


def test_a_tight_limit_leaves_less() -> None:
    model = Model(10, 1, 0.0, 8, 64, 0.0)
    assert typed.held_fps(model, 20) < 0.8 * typed.held_fps(model, 200)


def test_a_limit_that_one_frame_alone_breaks_is_refused() -> None:
    with pytest.raises(OptionError, match=r"--p95-ms=10: one frame alone takes 10.2 ms, 5 of it outside the engine"):
        typed.held_fps(typed.model_of(COST, None), 10)


def test_a_measurement_tells_the_size_of_pictures_and_what_goes_on_around_the_engine() -> None:
    measured = capacity()
    model = typed.model_of(COST, measured)
    known = typed.basis(COST, model, measured, None)
    assert (known.p95_ms, known.per_frame.request_bytes) == (100.0, 50_000.0)
    assert (known.source.typed, known.source.cpu_only) == (True, False)
    # Measured on a CPU: what its engine took is none of a GPU host's CPU time.
    assert known.per_frame.cpu_ms == model.around_ms > 0
    assert any("typed, not measured here" in text for text in known.warnings)


def test_the_cpu_time_of_a_gpu_fleet_is_taken_as_it_is() -> None:
    measured = capacity(source=provenance(engine={"kind": "trt", "device": "cuda:0"}), cpu_ms=3.0)
    known = typed.basis(COST, typed.model_of(COST, measured), measured, None)
    assert known.per_frame.cpu_ms == 3.0


def test_without_a_measurement_all_that_is_assumed_is_said() -> None:
    known = typed.basis(COST, typed.model_of(COST, None), None, None)
    assert (known.p95_ms, known.per_frame.cpu_ms) == (100.0, None)
    assert any(
        "no measurement given: pictures of 100 kB (--frame-kb) and 5 ms a frame" in text for text in known.warnings
    )


def test_a_service_that_names_no_stage_leaves_the_assumption() -> None:
    silent = replace(capacity(), rows=(replace(row(10), stages={}),))
    assert typed.model_of(COST, silent).around_ms == typed.AROUND_MS
