"""Mistakes and signed errors against what can be counted in a text."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.plots.canvas import BLACK, BLUE, ROW, entitle, panels, rows_of_text


def signed_error(groups: Mapping[str, pd.DataFrame], feature: str = "characters") -> Figure | None:
    """Draw the mean error (value − label) by group of one feature with its 95% interval, a panel a task.

    ``groups``: by task, ``error_groups.error_by_group``. To the right of 0, answers are too high. None
    when no task has groups of the feature.
    """
    return _by_group(groups, feature, "error", "mean of value − label")


def share_of_mistakes(groups: Mapping[str, pd.DataFrame], feature: str = "characters") -> Figure | None:
    """Draw the share of wrong answers by group of one feature with its 95% interval, a panel a task.

    ``groups``: by task, ``error_groups.mistakes_by_group``. None when no task has groups of the feature.
    """
    return _by_group(groups, feature, "mistakes", "share of wrong answers")


def _by_group(groups: Mapping[str, pd.DataFrame], feature: str, column: str, told: str) -> Figure | None:
    own = {task: frame[frame["feature"] == feature] for task, frame in groups.items()}
    own = {task: frame for task, frame in own.items() if len(frame)}
    if not own:
        return None
    rows = sum(map(len, own.values()))
    figure, drawn = panels(0.5 + 0.65 * len(own) + ROW * rows, len(own))
    for axes, (task, frame) in zip(drawn, own.items(), strict=True):
        places, value = np.arange(len(frame)), frame[column].to_numpy(np.float64)
        ends = frame[["low", "high"]].to_numpy(np.float64)
        axes.axvline(0, color=BLACK, lw=0.9)
        axes.hlines(places, ends[:, 0], ends[:, 1], color=BLUE, lw=1.8)
        axes.plot(value, places, "o", color=BLUE, ms=6)
        rows_of_text(axes, [f"{group} ({n})" for group, n in zip(frame["group"], frame["n"], strict=True)])
        entitle(axes, f"{task}: {column} by {feature}")
    drawn[-1].set_xlabel(told)
    return figure
