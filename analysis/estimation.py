"""Effects of the rows of a table and their errors: adjusted for each other, or one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.coding import Row
from analysis.scoring import Floats, Mask

MIN_DF = 3
"""Residual degrees of freedom below which a model of all factors gives no interval worth printing."""


@dataclass(frozen=True)
class Estimates:
    """One entry a row of the table; NaN where nothing can be estimated."""

    effects: Floats
    errors: Floats
    """Standard errors of ``effects``."""
    df: Floats
    """Degrees of freedom of ``errors``."""
    implied: Mask
    """Rows that the other factors already determine, such as a level that says only that its
    parent is off: the parent's row carries their effect."""
    adjusted: bool
    """Whether effects are adjusted for the other factors."""


def estimate(rows: Sequence[Row], target: Floats) -> Estimates:
    """Estimate all rows' effects on ``target`` (configurations,) in one model, or without one when
    fewer than ``MIN_DF`` degrees of freedom would be left."""
    return _adjusted(rows, target) or _one_by_one(rows, target)


def _adjusted(rows: Sequence[Row], target: Floats) -> Estimates | None:
    """Ordinary least squares over all rows with a column."""
    if len(target) == 0:
        return None
    columns, kept, implied = _design(rows, len(target))
    design = np.stack(columns, axis=1)
    _, singular, right = np.linalg.svd(design, full_matrices=False)
    rank = int((singular > singular[0] * max(design.shape) * np.finfo(float).eps).sum())
    df = len(target) - rank
    if df < MIN_DF:
        return None
    inverse = np.linalg.pinv(design)
    solution = inverse @ target
    variance = float(np.sum((target - design @ solution) ** 2)) / df
    errors = np.sqrt(variance * np.sum(inverse**2, axis=1))
    # A coefficient can be told apart from the others when its unit vector lies in the row space.
    estimable = np.sum(right[:rank] ** 2, axis=0) > 1 - 1e-8
    effects, spread = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    for position, index in enumerate(kept, start=1):
        if estimable[position]:
            effects[index], spread[index] = solution[position], errors[position]
    return Estimates(effects, spread, np.full(len(rows), float(df)), implied, adjusted=True)


def _design(rows: Sequence[Row], configurations: int) -> tuple[list[Floats], list[int], Mask]:
    """The model's columns, the rows of all but the first of them, and which rows are implied."""
    columns, kept = [np.ones(configurations)], []
    implied = np.zeros(len(rows), bool)
    # Inactive rows come last, so that what their parents explain is not taken for their own effect.
    for index, row in sorted(enumerate(rows), key=lambda pair: pair[1].inactive):
        if row.column is None:
            continue
        if row.inactive and _spanned(columns, row.column):
            implied[index] = True
        else:
            columns.append(row.column)
            kept.append(index)
    return columns, kept, implied


def _spanned(columns: Sequence[Floats], column: Floats) -> bool:
    basis = np.stack(columns, axis=1)
    solution, *_ = np.linalg.lstsq(basis, column, rcond=None)
    return bool(np.linalg.norm(column - basis @ solution) <= 1e-8 * np.linalg.norm(column))


def _one_by_one(rows: Sequence[Row], target: Floats) -> Estimates:
    """Differences of level means with Welch's errors (1947), and slopes over one factor alone."""
    baselines = {row.factor: row.where for row in rows if row.baseline}
    found = []
    for row in rows:
        if row.column is None or row.inactive:
            found.append((np.nan, np.nan, np.nan))
        elif row.slope:
            found.append(_slope(row.column[row.where], target[row.where]))
        else:
            found.append(_welch(target[row.where], target[baselines[row.factor]]))
    effects, errors, df = np.array(found, np.float64).reshape(-1, 3).T
    # Whether a factor is inactive is always another factor's doing.
    implied = np.array([row.inactive and row.column is not None for row in rows], bool)
    return Estimates(effects, errors, df, implied, adjusted=False)


def _welch(level: Floats, baseline: Floats) -> tuple[float, float, float]:
    """Difference of means, its error and degrees of freedom; these need two values on both sides."""
    difference = float(level.mean() - baseline.mean())
    if min(len(level), len(baseline)) < 2:
        return difference, np.nan, np.nan
    if np.ptp(level) == np.ptp(baseline) == 0:  # equal scores on both sides say nothing about the noise
        return difference, np.nan, np.nan
    parts = np.array([one.var(ddof=1) / len(one) for one in (level, baseline)])
    freedom = np.array([len(level) - 1, len(baseline) - 1])
    return difference, float(np.sqrt(parts.sum())), float(parts.sum() ** 2 / np.sum(parts**2 / freedom))


def _slope(position: Floats, target: Floats) -> tuple[float, float, float]:
    """Regression slope, its error and degrees of freedom; these need four values, as two levels do."""
    line = stats.linregress(position, target)
    if len(target) < 4 or not line.stderr > 0:
        return float(line.slope), np.nan, np.nan
    return float(line.slope), float(line.stderr), float(len(target) - 2)
