"""Scores by level of one factor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.ablation import per_configuration
from analysis.coding import INACTIVE, level_text
from analysis.description import Factor
from analysis.plots.canvas import BLUE, GREY, ORANGE, entitle, metric_name, panel, rows_of_text, spread


def score_by_level(
    trials: pd.DataFrame, factor: Factor, metric: str, name: str | None = None
) -> Figure | None:
    """Draw the metric of every configuration of ``trials`` by level of one factor, with level means.

    ``trials`` are the trials to compare, as ``common_epoch.at_common_epoch`` gives them. None
    when there are none.
    """
    seen = per_configuration(trials, [factor], [metric])
    if seen.empty:
        return None
    levels = _levels(factor, seen[factor.path])
    figure, axes = panel(2.6 if factor.levels is None else 1.1 + 0.36 * len(levels))
    if factor.levels is None:
        _scatter(axes, factor, seen, metric)
        axes.set_xlabel(name or factor.path)
        axes.set_ylabel(metric_name(metric))
    else:
        _strips(axes, levels, [level_text(value) for value in seen[factor.path]], seen[metric].to_numpy())
        axes.set_xlabel(metric_name(metric))
    entitle(axes, name or factor.path)
    return figure


def _levels(factor: Factor, values: pd.Series) -> list[str]:
    listed = [level_text(level) for level in factor.levels or ()]
    seen = {level_text(value) for value in values}
    others = sorted(seen - set(listed) - {INACTIVE})
    return [*listed, *others, *([INACTIVE] if INACTIVE in seen else [])]


def _strips(axes: Axes, levels: Sequence[str], seen: Sequence[str], scores: np.ndarray) -> None:
    where = np.array(seen, dtype=object)
    for place, level in enumerate(levels):
        own = scores[where == level]
        if len(own):
            color = GREY if level == INACTIVE else BLUE
            axes.plot(own, place + spread(len(own)), "o", color=color, alpha=0.55, ms=5, mew=0)
            axes.plot([own.mean()] * 2, [place - 0.34, place + 0.34], color=ORANGE, lw=2.4)
    rows_of_text(axes, [f"{level} ({int((where == level).sum())})" for level in levels])


def _scatter(axes: Axes, factor: Factor, seen: pd.DataFrame, metric: str) -> None:
    values = pd.to_numeric(seen[factor.path], errors="coerce").to_numpy(np.float64)
    scores = seen[metric].to_numpy(np.float64)
    active = ~np.isnan(values)
    axes.plot(values[active], scores[active], "o", color=BLUE, alpha=0.6, ms=5, mew=0)
    scale = np.log2(values[active]) if factor.log else values[active]
    if len(set(scale)) > 2:
        slope, offset = np.polyfit(scale - scale.mean(), scores[active], 1)
        ends = np.array([scale.argmin(), scale.argmax()])
        axes.plot(values[active][ends], offset + slope * (scale - scale.mean())[ends], color=ORANGE, lw=2)
    if factor.log:
        axes.set_xscale("log")
