import json

from deploy.guard.listener import Programs, to_json, to_metrics
from deploy.machine.control import ProgramState


def states(**pids: int) -> dict[str, ProgramState]:
    return {
        name: ProgramState(name, "RUNNING" if pid else "FATAL", pid, 5 if pid else 0, "") for name, pid in pids.items()
    }


def test_a_new_process_in_the_place_of_another_is_a_restart_and_the_first_one_is_not() -> None:
    programs = Programs(frozenset({"balancer"}))
    seen = [programs.observe(states(gpu0=pid, balancer=7)) for pid in (0, 11, 11, 12, 0, 13)]
    assert [rows[0].restarts for rows in seen] == [0, 0, 0, 1, 1, 2]
    assert [rows[1].restarts for rows in seen] == [0] * 6
    assert [row.instance for row in seen[0]] == [True, False]


def test_a_program_that_left_starts_again_from_nothing() -> None:
    programs = Programs(frozenset())
    programs.observe(states(gpu0=1))
    programs.observe(states(gpu0=2))
    programs.observe({})
    assert programs.observe(states(gpu0=3))[0].restarts == 0


def test_the_page_and_prometheus_get_the_same() -> None:
    rows = Programs(frozenset({"balancer"})).observe(states(gpu0=0, balancer=7))
    listed = json.loads(to_json(rows))["programs"]
    assert [(row["name"], row["state"], row["instance"]) for row in listed] == [
        ("gpu0", "FATAL", True),
        ("balancer", "RUNNING", False),
    ]
    text = to_metrics(rows, certificate_expires=1.8e9)
    assert 'framefleet_program_state{program="gpu0",state="FATAL"} 1\n' in text
    assert 'framefleet_program_state{program="gpu0",state="RUNNING"} 0\n' in text
    assert 'framefleet_program_restarts_total{program="gpu0"} 0\n' in text
    assert text.endswith("framefleet_certificate_expires_seconds 1800000000\n")
    assert "certificate" not in to_metrics(rows, None)
