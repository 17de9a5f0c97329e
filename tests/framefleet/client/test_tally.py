from framefleet.client.__main__ import Tally, summary
from framefleet.client.sender import Answer
from framefleet.wire.answers import Detection


def test_summary_has_rates_percentiles_medians_and_shares() -> None:
    tally = Tally()
    for index in range(100):
        stages = {"decode": 0.5, "infer": 20.0 + index % 3}
        face = Detection("face", 0, 0.9, (0, 0, 1, 1))
        tally.add(Answer([face], float(index + 1), retries=index == 7, instance=f"gpu{index % 2}", stages_ms=stages))

    assert summary(tally, 4.0).splitlines() == [
        "frames      100 in 4.0 s, 1 sent again",
        "rate        25.0 frames/s",
        "latency     p50 50.0 ms, p95 95.0 ms",
        "detections  100: face 100",
        "server      decode 0.5, infer 21.0 ms (medians)",
        "instances   gpu0 50, gpu1 50",
    ]


def test_summary_of_nothing_is_one_line() -> None:
    assert summary(Tally(), 0.0) == "frames      0 in 0.0 s"
