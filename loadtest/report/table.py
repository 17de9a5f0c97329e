"""The results as text for a terminal: [Summary] -> lines. Pure."""

import math

from loadtest.measure.summary import Summary, shortcomings
from loadtest.target.verdict import Verdict

RULE = "-" * 64
# A tenth of a millisecond says nothing there.
WHOLE_FROM_MS = 99.95
EXPLAINED = {
    Verdict.SAME: "as without load",
    Verdict.CHANGED: "not as without load, or malformed",
    Verdict.SHED: "503, the service was overloaded",
    Verdict.REJECTED: "429, over the client's rate",
    Verdict.FAILED: "another status, or no answer",
    Verdict.DROPPED: "not sent, too many unanswered",
}


def render(summary: Summary) -> str:
    """A table of about twenty lines, then the verdict."""
    return "\n".join(
        [
            RULE,
            *_rates(summary),
            RULE,
            *_times(summary),
            RULE,
            *_answers(summary),
            RULE,
            *_instances(summary),
            RULE,
            *verdict_lines(summary),
        ]
    )


def verdict_lines(summary: Summary) -> list[str]:
    """What to think of the run: passed or not and why, and whether its times can be trusted."""
    faults = shortcomings(summary)
    passed = f"PASSED: {passed_text(summary)}"
    lines = ["FAILED: " + "; ".join(faults)] if faults else [passed]
    lines += [f"times are not a valid measurement: {doubt}" for doubt in summary.doubts]
    return lines + [f"note: {note}" for note in summary.notes]


def passed_text(summary: Summary) -> str:
    """What a passed run has shown; late answers are no fault of it, but nobody should miss them."""
    late = f"; {summary.late} of them took over {summary.slo_ms:g} ms" if summary.late else ""
    return f"all {summary.offered} answers were the same as without load{late}"


def milliseconds(value: float) -> str:
    """Three digits or more, or a dash for what is unknown."""
    if math.isnan(value):
        return "-"
    return f"{value:.0f}" if value >= WHOLE_FROM_MS else f"{value:.1f}"


def failure_texts(summary: Summary) -> list[str]:
    """FAILED by kind: `3 x status 500`, `2 x no answer`."""
    return [f"{number} x {f'status {code}' if code else 'no answer'}" for code, number in summary.failures.items()]


def _rates(summary: Summary) -> list[str]:
    return [
        f"{'frames/s':<22}{summary.achieved_fps:>10.2f}   of {summary.offered_fps:.2f} offered",
        f"{'late answers':<22}{summary.late:>10}   {summary.late_share:.1%} of all frames, over {summary.slo_ms:g} ms",
    ]


def _times(summary: Summary) -> list[str]:
    lines = [f"{'ms':<22}{'p50':>10}{'p95':>10}{'p99':>10}{'worst':>10}"]
    rows = {
        "latency (scheduled)": summary.latency,
        "service (sent)": summary.service,
        "generator lateness": summary.lateness,
    }
    for name, found in rows.items():
        values = (found.p50, found.p95, found.p99, found.worst)
        lines.append(f"{name:<22}" + "".join(f"{milliseconds(value):>10}" for value in values))
    return lines


def _answers(summary: Summary) -> list[str]:
    lines = [
        f"{kind.value:<22}{summary.counts[kind.value]:>10}   {text}"
        for kind, text in EXPLAINED.items()
        if kind in (Verdict.SAME, Verdict.CHANGED, Verdict.FAILED) or summary.counts[kind.value]
    ]
    if summary.missing:
        lines.append(f"{'missing':<22}{summary.missing:>10}   no sample, the run was cut short")
    return lines + [f"{'':<35}{text}" for text in failure_texts(summary)]


def _instances(summary: Summary) -> list[str]:
    lines = [f"{'instance':<22}{'same':>10}{'share':>10}{'p95 ms':>10}"]
    lines += [
        f"{one.name:<22}{one.right:>10}{one.share:>10.1%}{milliseconds(one.service_p95_ms):>10}"
        for one in summary.instances
    ]
    return [*lines, summary.balance]
