"""Which task trains when."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from analysis.plots.canvas import BLACK, GREY, ROW, SERIES, entitle, panel, shortened

EXAMPLES = "task_examples/"
LOSS = "train_loss/"


def tasks_over_training(history: pd.DataFrame, tasks: Sequence[str], title: str) -> Figure | None:
    """Draw what one trial trained over its epochs, stage by stage: a lane for each loss, with its course.

    ``history``: the trial's rows of ``Study.history``. A lane is coloured in the epochs that trained its task,
    the darker the more of the epoch's examples were its, and holds the mean train loss, between 0 and the lane's largest value. Epochs taken from the store
    in one piece count as one. None when there are fewer than two epochs.
    """
    losses = [str(name) for name in history if str(name).startswith(LOSS) and history[name].notna().any()]
    own = history[history[losses].notna().any(axis=1)] if losses else history.head(0)
    if len(own) < 2:
        return None
    names = [name.removeprefix(LOSS) for name in losses]
    names = [*(task for task in tasks if task in names), *(name for name in names if name not in tasks)]
    figure, axes = panel(1.2 + 2 * ROW * len(names))
    for place, name in enumerate(names):
        losses_of = own[f"{LOSS}{name}"].to_numpy(np.float64)
        _lane(axes, place, losses_of, _shares(own, name), SERIES[place % len(SERIES)])
    axes.set_yticks(range(len(names)), [shortened(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, len(own))
    axes.grid(visible=False)
    _stages(axes, own["stage"].astype(str).tolist())
    entitle(axes, title)
    return figure


def _shares(own: pd.DataFrame, name: str) -> np.ndarray:
    """(epochs,) share of the examples that were the task's; a third where that is not recorded."""
    counts = own[[column for column in own if str(column).startswith(EXAMPLES)]]
    if f"{EXAMPLES}{name}" not in counts:
        return np.full(len(own), 1 / 3)
    shares = counts[f"{EXAMPLES}{name}"] / counts.sum(axis=1)
    return shares.where(shares.notna(), 1 / 3).to_numpy(np.float64)  # type: ignore[no-any-return]


def _lane(axes: Axes, place: int, losses: np.ndarray, shares: np.ndarray, color: str) -> None:
    trained = np.flatnonzero(~np.isnan(losses))
    shades = [to_rgba(color, 0.08 + 0.7 * shares[epoch]) for epoch in trained]
    bars = [(float(epoch), 1.0) for epoch in trained]
    axes.broken_barh(bars, (place - 0.42, 0.84), facecolors=shades, lw=0)
    top = max(float(np.nanmax(losses)), 1e-12)
    for run in np.split(trained, np.flatnonzero(np.diff(trained) > 1) + 1):
        axes.plot(run + 0.5, place + 0.4 - 0.8 * losses[run] / top, color=color, lw=1.6, marker=".", ms=4)
    axes.annotate(
        f"{top:.2g}", (1, place - 0.42), xycoords=("axes fraction", "data"), fontsize=8, color=BLACK,
        xytext=(3, 0), textcoords="offset points", va="top",
    )  # fmt: skip


def _stages(axes: Axes, stages: list[str]) -> None:
    """Name the stages below, and draw where each begins."""
    begins = [place for place, stage in enumerate(stages) if place == 0 or stages[place - 1] != stage]
    for begin in begins[1:]:
        axes.axvline(begin, color=GREY, lw=1)
    ends = [*begins[1:], len(stages)]
    middles = [(begin + end) / 2 for begin, end in zip(begins, ends, strict=True)]
    counted = [f"{shortened(stages[begin])} ({end - begin})" for begin, end in zip(begins, ends, strict=True)]
    slanted = len(counted) > 2
    axes.set_xticks(
        middles, counted, rotation=25 if slanted else 0, ha="right" if slanted else "center", fontsize=9
    )
    axes.set_xlabel("stage (epochs)")
