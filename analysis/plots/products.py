"""Whether the effect of one factor depends on another one."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.ablation import per_configuration
from analysis.coding import INACTIVE, level_text
from analysis.description import Factor
from analysis.plots.canvas import MARKERS, SERIES, entitle, legend_below, metric_name, panel, shortened


def interaction(
    trials: pd.DataFrame, first: Factor, second: Factor, metric: str, names: dict[str, str] | None = None
) -> Figure | None:
    """Draw the mean of the metric in every combination of two factors' levels, ± its standard error.

    Parallel lines mean that the effects add up. Ranges are cut at their median. Means are of configurations
    and not adjusted for other factors. None when no line has two points.
    """
    seen = per_configuration(trials, [first, second], [metric])
    rows, columns = (_levels(factor, seen[factor.path]) for factor in (first, second))
    cells = seen.assign(row=rows.to_numpy(), column=columns.to_numpy()).groupby(["row", "column"])[metric]
    table = pd.DataFrame({"mean": cells.mean(), "se": cells.sem().fillna(0.0)}).reset_index()
    across = _ordered(second, columns)
    table = table.assign(place=table["column"].map(across.index)).sort_values("place")
    lines = [(level, table[table["row"] == level]) for level in _ordered(first, rows)]
    if not any(len(line) > 1 for _, line in lines):
        return None
    figure, axes = panel(3.4)
    for number, (level, line) in enumerate(lines):
        look = number % len(SERIES)
        shift = 0.06 * (number - (len(lines) - 1) / 2)
        axes.errorbar(
            line["place"] + shift, line["mean"], yerr=line["se"], color=SERIES[look],
            marker=MARKERS[look], ms=6, lw=1.6, capsize=2, label=shortened(level),
        )  # fmt: skip
    slanted = max(map(len, across)) * len(across) > 40
    axes.set_xticks(
        range(len(across)), [shortened(level) for level in across],
        rotation=30 if slanted else 0, ha="right" if slanted else "center",
    )  # fmt: skip
    axes.set_xlim(-0.35, len(across) - 0.65)
    names = names or {}
    axes.set_xlabel(names.get(second.path, second.path))
    axes.set_ylabel(metric_name(metric))
    entitle(axes, f"{metric_name(metric)} by {names.get(first.path, first.path)}")
    legend_below(figure, axes)
    return figure


def _levels(factor: Factor, values: pd.Series) -> pd.Series:
    """The levels as text; a range is cut in two at its median."""
    if factor.levels is not None:
        return values.map(level_text)
    numbers = pd.to_numeric(values, errors="coerce")
    middle = float(np.nanmedian(numbers)) if numbers.notna().any() else np.nan
    halves = np.where(numbers <= middle, f"up to {middle:.3g}", f"above {middle:.3g}")
    return pd.Series(np.where(numbers.isna(), INACTIVE, halves), index=values.index)


def _ordered(factor: Factor, seen: pd.Series) -> list[str]:
    """The levels that occur: as the space lists them, halves of a range from low to high."""
    listed = [level_text(level) for level in factor.levels or ()]
    found = sorted(set(seen), key=lambda level: (not level.startswith("up to"), level))
    return [level for level in dict.fromkeys([*listed, *found]) if level in set(seen)]
