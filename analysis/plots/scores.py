"""Scores of all runs, task by task."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.plots.canvas import BLACK, BLUE, ORANGE, entitle, legend_below, panels, spread


def scores_by_task(trials: pd.DataFrame, tasks: Sequence[str], part: str = "report") -> Figure | None:
    """Draw every complete trial's metric of each task and its score, a strip each, with median and best trial.

    The best trial is the one with the best score on select: where it stands in a strip tells whether one
    configuration serves all tasks. Strips have scales of their own. None without complete trials.
    """
    complete = trials[(trials["state"] == "complete") & trials["score"].notna()]
    names = [name for name in ("score", *tasks) if complete[f"{part}/{name}"].notna().any()]
    if not names:
        return None
    best = complete.iloc[int(complete["score"].argmax())]
    figure, drawn = panels(0.7 + 0.72 * len(names), len(names))
    for axes, name in zip(drawn, names, strict=True):
        values = complete[f"{part}/{name}"].dropna().to_numpy(np.float64)
        few = len(values) <= 100
        axes.plot(values, spread(len(values)), "o", color=BLUE, alpha=0.5 if few else 0.2, ms=5, mew=0)
        axes.plot([np.median(values)] * 2, [-0.3, 0.3], color=BLACK, lw=2, label="median of the trials")
        axes.plot(
            best[f"{part}/{name}"], 0, "D", color=ORANGE, mec="white", ms=8, label=f"trial {best['number']}"
        )
        axes.set_yticks([0], [name])
        axes.set_ylim(-0.42, 0.42)
        axes.grid(axis="y", visible=False)
        axes.locator_params(axis="x", nbins=5)
    entitle(drawn[0], f"{part.capitalize()} scores of {len(complete)} complete trials")
    legend_below(figure, drawn[0])
    return figure
