"""What all pictures have in common: size, colours, names of metrics, PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#8A8A8A"
PURPLE, SKY, AMBER, BLACK = "#CC79A7", "#56B4E9", "#E69F00", "#1D1D1F"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""Series differ by marker as well as by colour."""
WIDTH = 4.4
"""Inches: at this width text of 10 points can be read on a phone."""
ROW = 0.3
"""Inches of a row of text beside the axes."""
LONGEST = 30
"""Characters of a label beside the axes; longer ones would leave no room for the picture."""


def panels(height: float, rows: int = 1, share_x: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure of ``rows`` panels, one below the other; ``height`` in inches."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    drawn = list(np.ravel(figure.subplots(rows, 1, sharex=share_x)))
    for axes in drawn:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#E6E6E6", lw=0.8)
        axes.set_axisbelow(True)
    return figure, drawn


def panel(height: float) -> tuple[Figure, Axes]:
    """A figure of one panel; ``height`` in inches."""
    figure, (axes,) = panels(height)
    return figure, axes


def png(figure: Figure) -> bytes:
    """Render a figure as PNG, sharp on dense screens."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=170, metadata={"Software": None})
    return buffer.getvalue()


def rows_of_text(axes: Axes, labels: Sequence[str]) -> None:
    """Name rows 0, 1, … from the top down."""
    axes.set_yticks(range(len(labels)), [shortened(label) for label in labels], fontsize=9)
    axes.set_ylim(len(labels) - 0.45, -0.55)
    axes.grid(axis="y", visible=False)
    axes.locator_params(axis="x", nbins=5)


def headed_rows(axes: Axes, groups: Sequence[tuple[str, Sequence[str]]]) -> list[int]:
    """Name rows in groups, each below its heading, from the top down; returns the places of the rows."""
    places: list[int] = []
    labels: list[str] = []
    place = 0
    for heading, rows in groups:
        named = axes.annotate(
            shortened(heading, 52), (0, place), xycoords=("axes fraction", "data"), xytext=(4, 0),
            textcoords="offset points", fontsize=9, fontweight="bold", va="center",
            bbox={"fc": "white", "ec": "none", "pad": 1},
        )  # fmt: skip
        named.set_in_layout(False)  # else a long heading would squeeze the picture
        places += range(place + 1, place + 1 + len(rows))
        labels += rows
        place += 1 + len(rows)
    axes.set_yticks(places, [shortened(label) for label in labels], fontsize=9)
    axes.set_ylim(place - 0.45, -0.55)
    axes.grid(axis="y", visible=False)
    axes.locator_params(axis="x", nbins=5)
    return places


def shortened(label: str, longest: int = LONGEST) -> str:
    """A label of at most this many characters, cut with an ellipsis."""
    return label if len(label) <= longest else label[: longest - 1] + "…"


def spread(count: int) -> npt.NDArray[np.float64]:
    """(count,) offsets that keep dots of one row apart; fixed, so that a study always gives one picture."""
    return np.random.default_rng(0).uniform(-0.16, 0.16, count)


def entitle(axes: Axes, title: str) -> None:
    """Put the title above the axes, cut where it would not fit."""
    axes.set_title(shortened(title, 40), loc="left", fontsize=11)


def legend(axes: Axes) -> None:
    """Name the series inside the axes, where there is most room."""
    axes.legend(fontsize=9, edgecolor="none", framealpha=0.75)


def legend_below(figure: Figure, axes: Axes) -> None:
    """Name the series of all panels below the figure, so that none of it is covered."""
    handles, labels = axes.get_legend_handles_labels()
    labels = [shortened(label, 52) for label in labels]
    columns = max(1, min(len(labels), 64 // (max(map(len, labels)) + 7)))
    figure.legend(handles, labels, loc="outside lower center", fontsize=9, edgecolor="none", ncols=columns)


def metric_name(metric: str) -> str:
    """``report/score`` as it stands at an axis."""
    return metric.replace("/", " ")
