"""Pictures of a study: small, one idea each, drawn without a display.

Every picture is narrow enough to be read on a phone; pages set several side by side. Colours
are Okabe and Ito's, which stay apart for colour-blind readers.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.ablation import per_configuration
from analysis.coding import INACTIVE, level_text
from analysis.study import Factor

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#8A8A8A"
WIDTH = 4.4
MANY_CURVES = 40


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
    figure, axes = _figure(2.6 if factor.levels is None else 1.1 + 0.36 * len(levels))
    if factor.levels is None:
        _scatter(axes, factor, seen, metric)
        axes.set_xlabel(name or factor.path)
        axes.set_ylabel(_metric_name(metric))
    else:
        _strips(axes, levels, [level_text(value) for value in seen[factor.path]], seen[metric].to_numpy())
        axes.set_xlabel(_metric_name(metric))
    axes.set_title(name or factor.path, loc="left")
    return figure


def learning_curves(history: pd.DataFrame, trials: pd.DataFrame) -> Figure | None:
    """Draw the select score by epoch of every trial; the best trial stands out, stopped ones are dashed.

    None without evaluated epochs.
    """
    if history.empty or "select/score" not in history:
        return None
    evaluated = history[history["select/score"].notna()]
    if evaluated.empty:
        return None
    states = trials.set_index("number")["state"]
    complete = trials[(trials["state"] == "complete") & trials["score"].notna()]
    best = int(complete["number"].iloc[complete["score"].argmax()]) if len(complete) else None
    figure, axes = _figure(3.2)
    alpha = 0.55 if evaluated["number"].nunique() <= MANY_CURVES else 0.25
    for number, rows in evaluated.groupby("number"):
        if number != best:
            style = "-" if states.get(number) == "complete" else "--"
            axes.plot(
                rows["epoch"], rows["select/score"], style, color=GREY, alpha=alpha, lw=1, marker=".", ms=4
            )
    axes.plot([], [], "-", color=GREY, label="complete")
    if (trials["state"] != "complete").any():
        axes.plot([], [], "--", color=GREY, label="stopped or running")
    if best is not None and (evaluated["number"] == best).any():
        rows = evaluated[evaluated["number"] == best]
        axes.plot(
            rows["epoch"], rows["select/score"], color=ORANGE, lw=2.2, marker="o", ms=4, label=f"trial {best}"
        )
    axes.set_title("Learning curves", loc="left")
    axes.set_xlabel("epoch")
    axes.set_ylabel("select score")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=9, edgecolor="none")
    return figure


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
    figure, axes = _figure(3.2)
    axes.plot(seconds / unit, known[metric], "o", color=BLUE, alpha=0.6, ms=5, mew=0, label="trial")
    best = known[metric].cummax()
    axes.step(seconds / unit, best, where="post", color=ORANGE, lw=1.6, label="best at this cost")
    if seconds.min() > 0 and seconds.max() / seconds.min() > 20:
        axes.set_xscale("log")
    axes.set_title("Score against cost", loc="left")
    axes.set_xlabel(f"cost of the trial on its own, {label}")
    axes.set_ylabel(_metric_name(metric))
    axes.legend(fontsize=9, edgecolor="none")
    return figure


def png(figure: Figure) -> bytes:
    """Render a figure as PNG, sharp on dense screens."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=170, metadata={"Software": None})
    return buffer.getvalue()


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E6E6E6", lw=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _levels(factor: Factor, values: pd.Series) -> list[str]:
    listed = [level_text(level) for level in factor.levels or ()]
    seen = {level_text(value) for value in values}
    others = sorted(seen - set(listed) - {INACTIVE})
    return [*listed, *others, *([INACTIVE] if INACTIVE in seen else [])]


def _strips(axes: Axes, levels: Sequence[str], seen: Sequence[str], scores: np.ndarray) -> None:
    jitter = np.random.default_rng(0)  # a fixed spread, so that the same study gives the same picture
    where = np.array(seen, dtype=object)
    for place, level in enumerate(levels):
        own = scores[where == level]
        if len(own):
            color = GREY if level == INACTIVE else BLUE
            spread = place + jitter.uniform(-0.16, 0.16, len(own))
            axes.plot(own, spread, "o", color=color, alpha=0.55, ms=5, mew=0)
            axes.plot([own.mean()] * 2, [place - 0.34, place + 0.34], color=ORANGE, lw=2.4)
    axes.set_yticks(range(len(levels)), [f"{level} ({int((where == level).sum())})" for level in levels])
    axes.set_ylim(len(levels) - 0.45, -0.55)
    axes.grid(axis="y", visible=False)
    axes.locator_params(axis="x", nbins=5)


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


def _metric_name(metric: str) -> str:
    half, _, name = metric.partition("/")
    return f"{half} {name}"
