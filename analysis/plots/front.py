"""Trade-offs between tasks: the Pareto front, and how the volume below it grew."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.pareto import pareto_front
from analysis.plots.canvas import (
    BLUE,
    GREY,
    ORANGE,
    entitle,
    legend,
    legend_below,
    metric_name,
    panel,
    panels,
)


def pareto(trials: pd.DataFrame, tasks: Sequence[str], part: str = "select") -> Figure | None:
    """Draw complete trials by every pair of tasks, a panel each; those that no trial beats in all tasks stand out.

    The front is that over all tasks on ``part``, so in a panel of two some of its trials lie inside.
    None with fewer than two trials or tasks.
    """
    names = [f"{part}/{task}" for task in tasks]
    complete = trials[(trials["state"] == "complete") & trials[names].notna().all(axis=1)]
    couples = list(itertools.combinations(tasks, 2))
    if len(complete) < 2 or not couples:
        return None
    front = pareto_front(trials, tasks, part)
    best = complete.iloc[int(complete["score"].argmax())]
    figure, drawn = panels(0.5 + 2.1 * len(couples), len(couples))
    for axes, (first, second) in zip(drawn, couples, strict=True):
        x, y = f"{part}/{first}", f"{part}/{second}"
        few = len(complete) <= 100
        axes.plot(
            complete[x], complete[y], "o", color=GREY, alpha=0.6 if few else 0.25, ms=5, mew=0, label="trial"
        )
        axes.plot(front[x], front[y], "s", color=BLUE, ms=6, mec="white", mew=0.6, label="on the front")
        axes.plot(
            best[x], best[y], "D", color=ORANGE, ms=8, mec="white", label=f"best score ({best['number']})"
        )
        axes.set_xlabel(metric_name(x))
        axes.set_ylabel(metric_name(y))
    entitle(drawn[0], "Pareto front")
    legend_below(figure, drawn[0])
    return figure


def hypervolume(growth: pd.DataFrame) -> Figure | None:
    """Draw the front's hypervolume by number of complete trials; ``growth``: ``pareto.hypervolume_over_time``.

    None with fewer than two trials.
    """
    if len(growth) < 2:
        return None
    figure, axes = panel(2.8)
    count, volume = np.arange(1, len(growth) + 1), growth["hypervolume"].to_numpy(np.float64)
    new = growth["on_front"].to_numpy(bool)
    axes.step(count, volume, where="post", color=BLUE, lw=1.8)
    axes.plot(count[new], volume[new], "o", color=ORANGE, ms=4, mew=0, label="came onto the front")
    entitle(axes, "Hypervolume below the front")
    axes.set_xlabel("complete trials")
    axes.set_ylabel("hypervolume")
    legend(axes)
    return figure
