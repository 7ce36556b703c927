"""How an ensemble grows with its members."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.plots.canvas import BLUE, GREY, ORANGE, entitle, legend_below, panels

LEAST = 0.01


def ensemble_growth(growth: pd.DataFrame) -> Figure | None:
    """Draw each task's metric on select and report against the members added, a panel a task.

    ``growth``: ``growth.greedy_growth``. A dotted line marks where select was best: this ensemble is taken.
    None without rows.
    """
    tasks = list(dict.fromkeys(growth["task"]))
    if not tasks:
        return None
    figure, drawn = panels(0.6 + 1.6 * len(tasks), len(tasks), share_x=True)
    for axes, task in zip(drawn, tasks, strict=True):
        own = growth[growth["task"] == task]
        axes.plot(own["added"], own["select"], "o-", color=BLUE, ms=3, lw=1.3, label="select (chooses)")
        axes.plot(own["added"], own["report"], "s--", color=ORANGE, ms=3, lw=1.3, label="report (quoted)")
        _widen(axes)
        taken = own.loc[own["taken"], "added"]
        axes.axvline(taken.max(), color=GREY, ls=":", lw=1.4, label="taken")
        axes.set_ylabel(task)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    entitle(drawn[0], "Greedy ensemble as it grows")
    drawn[-1].set_xlabel("members added (a trial may be added again)")
    legend_below(figure, drawn[0])
    return figure


def _widen(axes: Axes) -> None:
    """Show at least a point of the metric, so that rounding errors do not look like ups and downs."""
    low, high = axes.get_ylim()
    if high - low < LEAST:
        axes.set_ylim((low + high - LEAST) / 2, (low + high + LEAST) / 2)
