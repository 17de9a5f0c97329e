"""Writes docs/reliability.md: what each fault did to the fleet, as the run saw it; nothing runs here."""

from collections.abc import Iterable, Sequence

from chaos.machine import MIB
from chaos.matrix import MATRIX, PLUS, TOGETHER_S, Fault
from chaos.observation import Observation, counted
from chaos.run import GROWTH, Campaign

SIEGE = "## A mixed attack\n"
INTRODUCTION = """# Reliability: what each fault does to a fleet

Written by `make chaos`; run it again instead of editing this. A fleet on one machine gets a camera load
of a share of what it holds with one instance fewer, on connections that are kept alive and on new ones, each answer
compared with the idle fleet's answer to the same frame. Every fault is provoked once, then those that should cost
nothing are drawn at random, one alone and two at once in turn. **Lost** are good requests that failed, were refused or
were answered wrongly; **slow** ones were right but took over a second; **p99** is that of the calm before, and that
from the fault on. **Strong again** counts from the fault's end (for one that lasts, such as a cue to the engine or a
full disk) until every instance and the balancer answer. Memory and file descriptors are those of all processes of the
fleet, before and after. A hostile neighbour is 64 clients of another address that send pictures of 40 megapixels, forms
of 16 such files, slow bodies and packed requests: the cameras' p99 has to stay below 1 s, each instance below 700 MiB.

The fleet that is rehearsed is a copy of this code that differs in four places: its engines fail on cue, the clocks of
supervisord and the instances jump on cue, a program is FATAL to supervisor after 3 retries instead of 20, and the
reviver starts it again after 5 s instead of 60. Its logs, temporary files and notes have a disk of 64 MiB each, its
instances one thread and a memory ceiling of 1000 MiB.

What is not shown here: nginx never sees the clock jump, since the machine's own does not. The age of a quarantined
picture is wall time, so a jump forgets it early or late; deadlines, the watchdog, the reviver and the prober count on
the monotonic clock. A stranger who takes an instance's port and speaks HTTP there would be believed; one who does not
costs nothing. A picture that kills instances is known by its bytes: encoded anew it is another picture.
"""


def to_markdown(campaigns: Sequence[Campaign], when: str, siege: str = "") -> str:
    """Writes the whole document.

    Args:
        campaigns: in order.
        when: see `material.circumstances`.
        siege: the section of the mixed attack, which another run has written.
    """
    verdict = "Everything held that is expected." if all(c.met for c in campaigns) else "**Not everything held.**"
    parts = [INTRODUCTION, f"{when} {verdict}\n", *map(_campaign, campaigns), _bounds(campaigns)]
    return with_siege("\n".join(parts), siege)


def siege_of(page: str) -> str:
    """The section of the mixed attack in a page; empty if there is none."""
    _, head, section = page.partition(SIEGE)
    return head + section


def with_siege(page: str, section: str) -> str:
    """Puts a section of the mixed attack at a page's end, in place of the one that is there."""
    body = page.partition(SIEGE)[0].rstrip("\n") + "\n"
    return f"{body}\n{section}" if section else body


def _campaign(campaign: Campaign) -> str:
    name = campaign.model.rpartition("/")[2]
    simulated = " (a stand-in accelerator, not a real model)" if name.startswith("simulated:") else ""
    head = (
        f"## `{name}`{simulated}\n\n{campaign.instances} instances; one answers {campaign.capacity:.0f} frames/s, the "
        f"cameras send {campaign.rate:.0f}, {campaign.share:.0%} of what one instance fewer holds.\n\n"
    )
    tail = f"\nAfter `down` there was {'nothing left' if not campaign.left else ', '.join(campaign.left)}.\n"
    return head + _table(campaign.rows) + _at_random(campaign) + tail


def _table(rows: Iterable[Observation]) -> str:
    lines = [
        "| fault | sent | lost | expected | slow | p99 ms | worst ms | strong again s | noticed by | MiB | descriptors "
        "| met |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *map(_row, rows)]) + "\n"


def _row(row: Observation) -> str:
    cells = (
        row.fault,
        row.sent,
        f"{row.lost} ({counted(row.details)})" if row.lost else 0,
        f"at most {row.allowed}" if row.allowed else "none",
        row.slow,
        f"{row.calm_p99_ms:.0f} to {row.p99_ms:.0f}",
        f"{row.worst_ms:.0f}",
        f"{row.strong_s:.1f}",
        ", ".join(row.noticed) or "-",
        f"{row.before.memory_bytes / MIB:.0f} to {row.after.memory_bytes / MIB:.0f}",
        f"{row.before.descriptors} to {row.after.descriptors}",
        "yes" if row.met else f"**no** {row.broken}".strip(),
    )
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _at_random(campaign: Campaign) -> str:
    rows = campaign.random_rows
    if not rows:
        return ""
    sent, lost = sum(row.sent for row in rows), sum(row.lost for row in rows)
    longest = max(row.strong_s for row in rows)
    text = (
        f"\nAt random: {len(rows)} faults, {sent} good requests, {lost} lost; strong again after {longest:.1f} s at "
        f"the longest; memory {campaign.grew:.2f} times what it was before (at most {GROWTH}).\n"
    )
    return text + "".join(f"\n- {_at_once(row)}" for row in rows if PLUS in row.fault or not row.met) + "\n"


def _at_once(row: Observation) -> str:
    lost = ", ".join(filter(None, (f"{row.lost} lost", counted(row.details))))
    allowed = f" (at most {row.allowed})" if row.allowed else ""
    verdict = "" if row.met else f"; **not met** {row.broken}".rstrip()
    return f"{row.fault}: {row.sent} sent, {lost}{allowed}{verdict}"


def _bounds(campaigns: Sequence[Campaign]) -> str:
    ran = {row.fault for campaign in campaigns for row in campaign.rows}
    bounded: list[Fault] = [fault for fault in MATRIX if fault.lost_s and fault.name in ran]
    lines = [f"- {fault.name}: at most {fault.lost_s:g} s of load; {fault.bound}." for fault in bounded]
    lines.append(
        f"- two faults at once: at most {TOGETHER_S:g} s of load where they leave no instance, or where one takes away "
        "what mends the other (a stopped instance is found by the reviver); else what they cost alone."
    )
    return "## Where something may be lost, and why\n\n" + "\n".join(lines) + "\n"
