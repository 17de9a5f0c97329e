"""Draws CPU time a request of every server as an SVG, for README."""

from io import StringIO

from bench.peers.measured import Results
from bench.peers.report import BARE
from bench.peers.roster import FLASK, FLEET, ONE
from bench.peers.works import LARGE, SMALL, SMALL_RAW, TINY, Work

PANELS = (TINY, SMALL, LARGE, SMALL_RAW)
OURS, OTHERS, FLOOR = "#1f77b4", "#b0b0b0", "#2ca02c"


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
