"""What a score costs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.plots.canvas import BLUE, ORANGE, entitle, legend, metric_name, panel


def score_against_cost(trials: pd.DataFrame, metric: str) -> Figure | None:
    """Draw the metric of complete trials against what each costs on its own, with the best reached so far.

    None without complete trials of known cost.
    """
    known = trials[(trials["state"] == "complete") & trials["cost_alone"].notna() & trials[metric].notna()]
    if known.empty:
        return None
    known = known.sort_values("cost_alone")
    seconds = known["cost_alone"].to_numpy(np.float64)
    unit, label = (60.0, "minutes") if seconds.max() > 300 else (1.0, "seconds")
    figure, axes = panel(3.2)
    axes.plot(seconds / unit, known[metric], "o", color=BLUE, alpha=0.6, ms=5, mew=0, label="trial")
    best = known[metric].cummax()
    axes.step(seconds / unit, best, where="post", color=ORANGE, lw=1.6, label="best at this cost")
    if seconds.min() > 0 and seconds.max() / seconds.min() > 20:
        axes.set_xscale("log")
    entitle(axes, "Score against cost")
    axes.set_xlabel(f"cost of the trial on its own, {label}")
    axes.set_ylabel(metric_name(metric))
    legend(axes)
    return figure
