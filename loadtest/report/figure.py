"""Matplotlib figures as SVG for a page: they follow its light and dark colours and use its font.

A figure is drawn in token colours; in the SVG those become CSS variables.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Colours nobody would pick, each standing for a CSS variable of the page.
INK, MUTED, GRID, BAD, ACCENT = "#000101", "#000202", "#000303", "#000404", "#000505"
SERIES = ("#000606", "#000707", "#000808", "#000909", "#000a0a", "#000b0b")
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    BAD: "--bad",
    ACCENT: "--accent",
    **{token: f"--series-{number}" for number, token in enumerate(SERIES)},
}
STYLE: dict[Any, Any] = {
    # Text stays text: it can be selected, read aloud and set in the page's own font.
    "svg.fonttype": "none",
    "svg.hashsalt": "framefleet",
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
}
SIZE_INCHES = (6.0, 3.7)


class Sheet:
    """One figure with one pair of axes.

    Attributes:
        axes: to draw on.
    """

    def __init__(self, figure: Figure, axes: Axes) -> None:
        self._figure = figure
        self.axes = axes

    def legend(self) -> None:
        """A legend above the axes, as wide as the figure."""
        self._figure.legend(loc="outside upper right", ncols=4, fontsize=9.5, columnspacing=1.2, handlelength=1.4)

    def svg(self, name: str) -> str:
        """The figure as an `<svg>` element.

        Args:
            name: unique on the page; ids inside begin with it.
        """
        buffer = io.StringIO()
        self._figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
        return _for_page(buffer.getvalue(), name)


@contextmanager
def sheet(x_label: str, y_label: str) -> Iterator[Sheet]:
    """A figure in the page's style; draw and take its SVG inside the block."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        axes = figure.add_subplot()
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.tick_params(length=0)
        yield Sheet(figure, axes)


def _for_page(document: str, name: str) -> str:
    svg = document[document.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    # Several figures share the page, so their ids must not be the same.
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = svg.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    svg = re.sub(r"font: ((?:\d+ )?[\d.]+px) [^;\"]+", r"font: \1 var(--font)", svg)
    for token, variable in VARIABLES.items():
        svg = svg.replace(token, f"var({variable})")
    # The figure around it carries the description.
    return svg.replace("<svg ", '<svg aria-hidden="true" ', 1).strip()
