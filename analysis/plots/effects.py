"""Effects with their intervals: a forest plot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plots.canvas import BLACK, BLUE, GREEN, GREY, ORANGE, ROW, entitle, headed_rows, panel

LOOKS: dict[str, tuple[str, str]] = {
    "better": (BLUE, "^"),
    "worse": (ORANGE, "v"),
    "equivalent": (GREEN, "s"),
}
"""Colour and marker of a verdict; of any other, an open circle."""
MOST_ROWS = 30
STRETCH = 4.0
"""The axis ends at so many times the largest effect: a wide interval may run out of the picture."""


def forest(
    effects: pd.DataFrame, names: dict[str, str], delta: float | None = None, title: str = "Effects"
) -> Figure | None:
    """Draw effects in points with their 95% intervals, grouped by factor.

    Args:
        effects: rows of ``ablation.main_effects`` or, of one target, of ``one_factor.ablation_table``; of
            more than ``MOST_ROWS`` the first ones are drawn.
        names: a short name for each factor's path.
        delta: half-width of the band of equivalence, in the unit of the effects.
    """
    value = "difference" if "difference" in effects else "effect"
    base = "base" if "base" in effects else "baseline"
    told = effects[effects[value].notna() & ~effects[base].astype(bool)].head(MOST_ROWS)
    if told.empty:
        return None
    groups = _groups(told, effects[effects[base].astype(bool)], names)
    figure, axes = panel(0.9 + ROW * (len(groups) + len(told)))
    places = headed_rows(axes, [(heading, own["level"].astype(str).tolist()) for heading, own in groups])
    axes.axvline(0, color=BLACK, lw=0.9)
    if delta is not None:
        axes.axvspan(-100 * delta, 100 * delta, color=GREEN, alpha=0.13, lw=0)
    edge = _edge(100 * told[[value, "ci_low", "ci_high"]].to_numpy(np.float64), 100 * (delta or 0))
    axes.set_xlim(-edge, edge)
    rows = [row for _, own in groups for row in own.to_dict("records")]
    for place, row in zip(places, rows, strict=True):
        _draw(axes, place, row, 100 * row[value], edge)
    axes.set_xlabel("points")
    entitle(axes, title)
    return figure


def _groups(told: pd.DataFrame, bases: pd.DataFrame, names: dict[str, str]) -> list[tuple[str, pd.DataFrame]]:
    """Each factor's heading and effects."""
    base_of = dict(zip(bases["factor"], bases["level"], strict=True))
    return [
        (
            names.get(str(factor), str(factor))
            + (f" (against {base_of[factor]})" if factor in base_of else ""),
            own,
        )
        for factor, own in told.groupby("factor", sort=False)
    ]


def _edge(values: np.ndarray, delta: float) -> float:
    """Where the axis ends: at the widest interval, or at a multiple of the largest effect."""
    widest = float(np.nanmax(np.abs(values)))
    largest = max(float(np.nanmax(np.abs(values[:, 0]))), delta)
    return 1.08 * max(min(widest, STRETCH * largest), 1.5 * delta, 0.1)


def _draw(axes: Axes, place: int, row: dict[Any, Any], value: float, edge: float) -> None:
    color, marker = LOOKS.get(str(row["verdict"]), (GREY, "o"))
    low, high = 100 * row["ci_low"], 100 * row["ci_high"]
    if not np.isnan(low):
        axes.plot(
            [max(low, -edge), min(high, edge)], [place, place], color=color, lw=1.8, solid_capstyle="butt"
        )
        for end, arrow in ((low, "<"), (high, ">")):
            if abs(end) > edge:
                axes.plot(np.sign(end) * edge * 0.985, place, arrow, color=color, ms=5, clip_on=False)
    filled = color if marker != "o" else "white"
    axes.plot(value, place, marker, color=color, mfc=filled, ms=7, mew=1.4)
