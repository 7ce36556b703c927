"""Changes between runs that differ in one thing only."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.plots.canvas import BLACK, BLUE, ORANGE, ROW, entitle, headed_rows, panel, spread


def paired_changes(
    pairs: pd.DataFrame, names: Mapping[str, str], title: str = "Paired changes"
) -> Figure | None:
    """Draw the change of every pair of runs, in points, and each level's mean change.

    ``pairs``: one row a pair, as ``paired.paired_differences`` gives them: factor, level, difference.
    None when no pair has one.
    """
    known = pairs[pairs["difference"].notna()]
    if known.empty:
        return None
    by_factor = {
        factor: list(own.groupby("level", sort=False)["difference"])
        for factor, own in known.groupby("factor", sort=False)
    }
    figure, axes = panel(0.9 + ROW * sum(1 + len(levels) for levels in by_factor.values()))
    axes.axvline(0, color=BLACK, lw=0.9)
    places = headed_rows(
        axes,
        [
            (names.get(str(factor), str(factor)), [str(level) for level, _ in levels])
            for factor, levels in by_factor.items()
        ],
    )
    changes = [values for levels in by_factor.values() for _, values in levels]
    for place, values in zip(places, changes, strict=True):
        points = 100 * values.to_numpy(np.float64)
        axes.plot(points, place + spread(len(points)), "o", color=BLUE, alpha=0.55, ms=5, mew=0)
        axes.plot([points.mean()] * 2, [place - 0.34, place + 0.34], color=ORANGE, lw=2.4)
    axes.set_xlabel("points against the base")
    entitle(axes, title)
    return figure
