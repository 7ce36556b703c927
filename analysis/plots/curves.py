"""Scores by epoch: of all trials, and of a few on train against dev."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.plots.canvas import GREY, MARKERS, ORANGE, SERIES, entitle, legend, legend_below, panel, panels

MANY_CURVES = 40
MOST_CURVES = 300
"""Of more trials, as many are drawn, spread evenly over their numbers: more only make the page grey."""
OVERLAID = 4


def learning_curves(epochs: pd.DataFrame, trials: pd.DataFrame) -> Figure | None:
    """Draw the select score by epoch of every trial; the best trial stands out, stopped ones are dashed.

    ``epochs``: ``Study.scored_epochs``. None when no trial was scored after two epochs.
    """
    if epochs.empty or "select/score" not in epochs:
        return None
    evaluated = epochs[epochs["select/score"].notna()]
    if evaluated["epoch"].nunique() < 2:
        return None
    complete = trials[(trials["state"] == "complete") & trials["score"].notna()]
    best = int(complete["number"].iloc[complete["score"].argmax()]) if len(complete) else None
    figure, axes = panel(3.2)
    _all_but(axes, evaluated, best, set(trials.loc[trials["state"] == "complete", "number"]))
    axes.plot([], [], "-", color=GREY, label="complete")
    if (trials["state"] != "complete").any():
        axes.plot([], [], "--", color=GREY, label="stopped early or begun")
    rows = evaluated[evaluated["number"] == best]
    if len(rows):
        axes.plot(
            rows["epoch"], rows["select/score"], color=ORANGE, lw=2.2, marker="o", ms=4, label=f"trial {best}"
        )
    entitle(axes, "Learning curves")
    axes.set_xlabel("epoch")
    axes.set_ylabel("select score")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(axes)
    return figure


def train_against_dev(
    epochs: pd.DataFrame, runs: Mapping[str, int], tasks: Sequence[str], part: str = "dev"
) -> Figure | None:
    """Overlay the learning curves of a few runs (label → trial number), a panel a task and one for the score.

    Full lines are ``part``'s metrics, dashed ones those on a sample of train where these were measured, so
    that the gap between the two can be seen. At most ``OVERLAID`` runs, the first ones. None when no
    run was scored after two epochs.
    """
    chosen = list(runs.items())[:OVERLAID]
    names = [name for name in ("score", *tasks) if f"{part}/{name}" in epochs]
    own = {label: epochs[epochs["number"] == number].sort_values("epoch") for label, number in chosen}
    if not names or all(len(one) < 2 for one in own.values()):
        return None
    figure, drawn = panels(0.6 + 1.55 * len(names), len(names), share_x=True)
    trained = any(f"train/{name}" in epochs and epochs[f"train/{name}"].notna().any() for name in names)
    for axes, name in zip(drawn, names, strict=True):
        for (label, rows), color, marker in zip(own.items(), SERIES, MARKERS, strict=False):
            known = rows[rows[f"{part}/{name}"].notna()]
            axes.plot(
                known["epoch"], known[f"{part}/{name}"], color=color, marker=marker, ms=4, lw=1.6, label=label
            )
            if f"train/{name}" in rows:
                seen = rows[rows[f"train/{name}"].notna()]
                axes.plot(
                    seen["epoch"], seen[f"train/{name}"], "--", color=color, marker=marker, ms=3, lw=1.2
                )
        axes.set_ylabel(name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    entitle(drawn[0], f"Train against {part}" if trained else f"Scores on {part} by epoch")
    drawn[-1].set_xlabel("epoch")
    if trained:
        drawn[0].plot([], [], "-", color=GREY, label=part)
        drawn[0].plot([], [], "--", color=GREY, label="train")
    legend_below(figure, drawn[0])
    return figure


def _all_but(axes: Axes, evaluated: pd.DataFrame, best: int | None, complete: set[int]) -> None:
    """Curves of all trials but the best, as two collections: lines one by one would take seconds."""
    numbers = [number for number in evaluated["number"].unique() if number != best]
    if len(numbers) > MOST_CURVES:
        numbers = [numbers[place] for place in np.linspace(0, len(numbers) - 1, MOST_CURVES).astype(int)]
    curves = {
        number: rows[["epoch", "select/score"]].to_numpy(np.float64)
        for number, rows in evaluated[evaluated["number"].isin(numbers)].groupby("number")
    }
    alpha = 0.55 if len(curves) <= MANY_CURVES else 0.25
    for style, chosen in (
        ("-", [curve for number, curve in curves.items() if number in complete]),
        ("--", [curve for number, curve in curves.items() if number not in complete]),
    ):
        if chosen:
            axes.add_collection(LineCollection(chosen, linestyles=style, colors=GREY, alpha=alpha, lw=1))
            points = np.concatenate(chosen)
            axes.plot(points[:, 0], points[:, 1], ".", color=GREY, alpha=alpha, ms=4)
