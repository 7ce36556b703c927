"""How factors become columns of a linear model: dummies for levels, slopes for ranges.

A factor that was not active in a configuration (its `when:` did not hold) has no value there and is at the
level "inactive"; the level null is a value like any other, ``description.NULL``. A slope is then taken over the active configurations only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.description import Factor
from analysis.scoring import Floats, Mask

INACTIVE = "inactive"
MIN_BASELINE = 3


@dataclass(frozen=True)
class Row:
    """A line of the effects table: a level of a factor, or the slope over its range."""

    factor: str
    level: str
    where: Mask
    """(configurations,) which ones are at this level."""
    column: Floats | None
    """(configurations,) its column in the model; None for a baseline and levels that never ran."""
    baseline: bool = False
    slope: bool = False

    @property
    def inactive(self) -> bool:
        return self.level == INACTIVE


def code(factor: Factor, values: pd.Series[Any]) -> list[Row]:
    """Code one factor over the configurations' values of it."""
    return _slope_rows(factor, values) if factor.levels is None else _level_rows(factor, values)


def level_text(value: object) -> str:
    """How a value of ``Study.trials`` is written in tables: a level as YAML would (true, 0.1, null, concat)."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return INACTIVE
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value)).lower()
    if isinstance(value, (float, np.floating)):
        return f"{float(value):.4g}"
    return str(value)


def _level_rows(factor: Factor, values: pd.Series[Any]) -> list[Row]:
    seen = np.array([level_text(value) for value in values], dtype=object)
    listed = [level_text(level) for level in factor.levels or ()]
    levels = list(dict.fromkeys([*listed, *sorted(set(seen) - {INACTIVE})]))
    where = {level: np.asarray(seen == level, bool) for level in levels}
    baseline = _baseline(levels, where)
    rows = [
        Row(
            factor.path,
            level,
            where[level],
            None if level == baseline or not where[level].any() else where[level].astype(np.float64),
            baseline=level == baseline,
        )
        for level in levels
    ]
    return rows + _inactive_row(factor, np.asarray(seen == INACTIVE, bool), bool(baseline))


def _baseline(levels: Sequence[str], where: dict[str, Mask]) -> str | None:
    """The first listed level (a space names the plain choice first) unless it hardly ran."""
    for level in levels:
        if where[level].sum() >= MIN_BASELINE:
            return level
    commonest = max(levels, key=lambda level: int(where[level].sum()), default=None)
    return commonest if commonest is not None and where[commonest].any() else None


def _slope_rows(factor: Factor, values: pd.Series[Any]) -> list[Row]:
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64)
    active = ~np.isnan(numbers)
    step = _step(factor, numbers[active])
    level = "per doubling" if factor.log else f"per +{step:g}"
    column = None
    if len(set(numbers[active])) > 1:
        scaled = np.log2(numbers[active]) if factor.log else numbers[active] / step
        column = np.zeros(len(numbers))
        column[active] = (
            scaled - scaled.mean()
        )  # inactive configurations sit at the mean, their own row shifts them
    slope = Row(factor.path, level, active, column, slope=True)
    return [slope, *_inactive_row(factor, ~active, bool(active.any()))]


def _step(factor: Factor, values: Floats) -> float:
    """0.1 where that is a readable part of the range, else the power of ten below the range."""
    low = factor.low if factor.low is not None else values.min(initial=0.0)
    high = factor.high if factor.high is not None else values.max(initial=1.0)
    width = float(high - low)
    if width <= 0 or 0.1 <= width <= 1:
        return 0.1
    return float(10.0 ** math.floor(math.log10(width)))


def _inactive_row(factor: Factor, where: Mask, comparable: bool) -> list[Row]:
    if not where.any():
        return []
    return [Row(factor.path, INACTIVE, where, where.astype(np.float64) if comparable else None)]
