"""Writes a run into docs/benchmarks.md, between markers; nothing is measured here."""

from collections.abc import Callable, Iterable, Sequence
from io import StringIO
from statistics import median

from bench.peers.measured import Life, Results
from bench.peers.roster import A_MS, B_MS, FLASK, FLEET, LEFT_OUT, ONE
from bench.peers.rounds import LOAD_SHARE, MIXED_TURNS
from bench.peers.server import Spec
from bench.peers.targets import Target, queue_tail
from bench.peers.works import LARGE, SMALL, SMALL_RAW, TINY, WORKS, Work

PANELS = (TINY, SMALL, LARGE, SMALL_RAW)
OURS, OTHERS, FLOOR = "#1f77b4", "#b0b0b0", "#2ca02c"


BEGIN, END = "<!-- bench-peers: begin -->", "<!-- bench-peers: end -->"
BARE = "bare decode + letterbox"


class NoMarkersError(Exception):
    """The page has no place for the section."""


def with_section(page: str, section: str) -> str:
    """Puts the section between a page's markers.

    Raises:
        NoMarkersError: it does not have both, in their order.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise NoMarkersError(f"docs/benchmarks.md: {BEGIN} and {END} are missing; put them where the table belongs")
    return f"{before}{BEGIN}\n{section}\n{END}{after}"


def to_markdown(results: Results, specs: Sequence[Spec], aims: Sequence[Target], when: str) -> str:
    """The whole section: machine and date, the tables, the targets, the set-ups."""
    closed = f"{WORKS[1].connections} clients ({WORKS[-1].connections} for JSON)"
    return "\n".join(
        [
            f"## Beside its peers\n\n{when}\n\n![CPU ms a request](peers.svg)\n",
            f"The accelerator is simulated, {A_MS:g} ms + {B_MS:g} ms a frame, one for all processes of a server;",
            f"input 640. Closed loops of {closed}, all servers in turn within each round,",
            "medians of the rounds. CPU is the kernel's account of all processes of a server, balancers, helpers and",
            "ended ones too.\n",
            "**CPU ms a request**\n",
            *_by_work(results, specs, results.cpu_ms, "{:.2f}", with_bare=True),
            "\n**Answers a second at saturation**\n",
            *_by_work(results, specs, results.rate, "{:.0f}", with_bare=False),
            f"\n**Beside the requests.** Latency of a {SMALL.name}: p50 and p99 in ms at saturation, p99 over",
            f"p50 there and at {LOAD_SHARE:.0%} of the peak in Poisson arrivals (an M/D/1 queue has",
            f"{queue_tail(LOAD_SHARE):.2f}); start to the first answer; MB (proportional) after a turn of mixed",
            f"sizes (the default model: of one), and after {MIXED_TURNS} turns more; cores taken while nobody asks; s",
            "from kill -9 of the busiest process until rate and instances are back, and requests lost by it (what a",
            "client tries again, every 20 ms, counts once).\n",
            *_lives(results, specs),
            "\n**Targets**\n",
            *_targets(aims),
            "\n**Who, and how set up**\n",
            *_table(
                ("server", "version", "set-up"), [(spec.name, spec.version or "this one", spec.setup) for spec in specs]
            ),
            "\n**Left out**\n",
            *(f"- {name}: {why}" for name, why in LEFT_OUT.items()),
        ]
    )


def _by_work(
    results: Results, specs: Sequence[Spec], of: Callable[[str, str], float], shape: str, *, with_bare: bool
) -> Iterable[str]:
    works = [work for work in results.turns if any(results.turns[work].values())]
    rows = [
        (spec.name, *(shape.format(of(work, spec.name)) if spec.name in results.turns[work] else "-" for work in works))
        for spec in specs
        if any(spec.name in results.turns[work] for work in works)
    ]
    if with_bare:
        cells = (shape.format(results.bare(work)) if work in results.bare_ms else "-" for work in works)
        rows.append((BARE, *cells))
    return _table(("server", *works), rows)


def _lives(results: Results, specs: Sequence[Spec]) -> Iterable[str]:
    head = ("server", "p50", "p99", "p99/p50", "Poisson p99/p50", "start, s", "MB", "MB, later", "idle cores")
    rows = []
    for spec in specs:
        if (life := results.lives.get(spec.name)) is None:
            continue
        turns = results.turns.get(SMALL.name, {}).get(spec.name, [])
        tail = [turn.p99_ms / turn.p50_ms for turn in results.poisson.get(spec.name, [])]
        rows.append(
            (
                spec.name,
                f"{median(turn.p50_ms for turn in turns):.1f}" if turns else "-",
                f"{median(turn.p99_ms for turn in turns):.1f}" if turns else "-",
                f"{results.tail(SMALL.name, spec.name):.2f}" if turns else "-",
                f"{median(tail):.2f}" if tail else "-",
                f"{life.start_s:.1f}",
                f"{life.loaded_mb:.0f}" if life.loaded_mb else "-",
                f"{life.mixed_mb:.0f}" if life.mixed_mb else "-",
                f"{life.idle_cores:.3f}",
                *_killed(life),
            )
        )
    return _table((*head, "strong again, s", "lost"), rows)


def _killed(life: Life) -> tuple[str, str]:
    if not life.killed:
        return "-", "-"
    return ("never" if life.strong_s is None else f"{life.strong_s:.2f}"), str(life.kill_lost)


def _targets(aims: Sequence[Target]) -> Iterable[str]:
    rows = (
        (
            aim.measure,
            f"{aim.value:.2f}",
            f"{'>=' if aim.least else '<='} {aim.limit:g}",
            "met" if aim.met else "**missed**",
        )
        for aim in aims
    )
    return _table(("measure", "this run", "target", ""), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def to_svg(results: Results) -> str:
    """One panel a work, one bar a server; the same results give the same text."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    panels = [(work, _bars(results, work)) for work in PANELS if work.name in results.turns]
    with matplotlib.rc_context({"svg.hashsalt": "framefleet", "font.size": 8}):
        figure, axes = pyplot.subplots(1, len(panels), figsize=(3.4 * len(panels), 2.6), squeeze=False)
        for axis, (work, bars) in zip(axes[0], panels, strict=True):
            names = [name for name, _ in bars]
            drawn = axis.barh(names, [value for _, value in bars], color=[_colour(name) for name in names])
            axis.bar_label(drawn, fmt="%.2f", padding=2)
            axis.set_title(f"CPU ms: {work.name}")
            axis.margins(x=0.18)
            axis.invert_yaxis()
            axis.spines[["top", "right"]].set_visible(False)
        figure.tight_layout()
        text = StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
        pyplot.close(figure)
    return text.getvalue()


def _bars(results: Results, work: Work) -> list[tuple[str, float]]:
    bars = [(server, results.cpu_ms(work.name, server)) for server in results.turns[work.name] if server != FLASK]
    if work.name in results.bare_ms:
        bars.append((BARE, results.bare(work.name)))
    return sorted(bars, key=lambda bar: bar[1])


def _colour(name: str) -> str:
    return OURS if name in (ONE, FLEET) else FLOOR if name == BARE else OTHERS
