"""What each factor does to the score, and which configurations lead.

A searched study is observational: its sampler chose what to try, and tried what looked good
more often. Effects are therefore adjusted for the other factors by ordinary least squares
and marked as observational; runs designed to differ in one factor only are what confirms them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from analysis.coding import Row, code
from analysis.scoring import Floats, Mask
from analysis.significance import holm, smallest_visible_difference
from analysis.study import Factor

MIN_DF = 3
"""Residual degrees of freedom below which no interval is worth printing."""
OBSERVATIONAL = "observational"
LEVEL_MEANS = "level means"


def main_effects(
    trials: pd.DataFrame,
    factors: Sequence[Factor],
    tasks: Iterable[str],
    metric: str = "report/score",
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Estimate the main effect of every level of every factor on ``metric``.

    Only complete trials count (a pruned trial's score is that of a shorter training, and it was
    cut because it was low); replicates are averaged first, so an observation is a configuration.
    Returns one row a level, or one for the slope of a continuous factor: factor, level, baseline,
    slope, n (configurations), mean, sd, effect against the baseline level (adjusted for the other
    factors), ci_low, ci_high, p, p_holm (over the whole table), visible (the smallest true
    effect this row would have shown with 80% power at the corrected level), verdict, evidence,
    and the mean of each task's metric. All in the unit of ``metric``.

    With fewer than ``MIN_DF`` residual degrees of freedom the effects are plain differences of
    level means without intervals, and ``evidence`` says so.
    """
    half = metric.partition("/")[0]
    task_columns = [f"{half}/{task}" for task in tasks if f"{half}/{task}" in trials]
    seen = per_configuration(trials, factors, [metric, *task_columns])
    rows = [row for factor in factors for row in code(factor, seen[factor.path])]
    target = seen[metric].to_numpy(np.float64)
    fit = _fit(rows, target)
    records = []
    for index, row in enumerate(rows):
        inside = target[row.where]
        records.append(
            {
                "factor": row.factor,
                "level": row.level,
                "baseline": row.baseline,
                "slope": row.slope,
                "n": len(inside),
                "mean": inside.mean() if len(inside) else np.nan,
                "sd": inside.std(ddof=1) if len(inside) > 1 else np.nan,
                "effect": fit.effects[index] if fit else _plain_effect(index, rows, target),
                "se": fit.errors[index] if fit else np.nan,
                "evidence": OBSERVATIONAL if fit else LEVEL_MEANS,
                **{name: seen.loc[row.where, name].mean() for name in task_columns},
            }
        )
    table = pd.DataFrame(records, columns=_columns(task_columns))
    table = _with_tests(table, fit.df if fit else 0, alpha)
    return table.assign(verdict=_verdicts(rows, table, fit, alpha))


def per_configuration(
    trials: pd.DataFrame, factors: Sequence[Factor], metrics: Sequence[str]
) -> pd.DataFrame:
    """One row a configuration that has complete trials: its factors and the means of ``metrics``."""
    paths = [factor.path for factor in factors]
    complete = trials[(trials["state"] == "complete") & trials[metrics[0]].notna()]
    names = complete["config_id"].where(complete["config_id"].notna(), complete["number"].astype(str))
    complete = complete.assign(config_id=names)
    means = complete.groupby("config_id", sort=False)[list(metrics)].mean()
    settings = complete.drop_duplicates("config_id").set_index("config_id")[paths]
    return settings.join(means).reset_index()


def leaderboard(
    trials: pd.DataFrame, tasks: Iterable[str], top: int = 10, factors: Sequence[Factor] = ()
) -> pd.DataFrame:
    """Rank the configurations by their mean select score over complete replicates.

    Returns the ``top`` best: rank, config_id, numbers (of its trials), n (replicates), select and
    select_sd, report and report_sd (scores; sd over replicates), optimism (select − report), the
    means of report/<task> and dev/score, cost_alone (seconds), and a column for each factor.
    """
    paths = [factor.path for factor in factors]
    complete = trials[(trials["state"] == "complete") & trials["score"].notna()]
    names = complete["config_id"].where(complete["config_id"].notna(), complete["number"].astype(str))
    groups = complete.assign(config_id=names).groupby("config_id", sort=False)
    means = [*(f"report/{task}" for task in tasks), "dev/score", "cost_alone"]
    table = pd.DataFrame(
        {
            "numbers": groups["number"].agg(list),
            "n": groups["number"].count(),
            "select": groups["score"].mean(),
            "select_sd": groups["score"].std(),
            "report": groups["report/score"].mean(),
            "report_sd": groups["report/score"].std(),
            "optimism": groups["score"].mean() - groups["report/score"].mean(),
            **{name: groups[name].mean() for name in means},
        }
    )
    settings = complete.assign(config_id=names).drop_duplicates("config_id").set_index("config_id")[paths]
    ranked = (
        table.join(settings).sort_values("select", ascending=False, kind="stable").head(top).reset_index()
    )
    ranked.insert(0, "rank", np.arange(1, len(ranked) + 1))
    return ranked


@dataclass(frozen=True)
class _Fit:
    """Least squares over all factors; entries follow the table's rows, NaN where not estimated."""

    effects: Floats
    errors: Floats
    df: int
    implied: Mask
    """Rows that the other factors already determine, such as a level that says only that its
    parent is off: the parent's row carries their effect."""


def _fit(rows: Sequence[Row], target: Floats) -> _Fit | None:
    """Fit all rows with a column at once; None when too few configurations are left to judge by."""
    # Inactive rows come last, so that what their parents explain is not taken for their own effect.
    varied = [index for index, row in enumerate(rows) if row.column is not None]
    ordered = sorted(varied, key=lambda index: rows[index].inactive)
    columns, kept = [np.ones(len(target))], []
    implied = np.zeros(len(rows), bool)
    for index in ordered:
        column = rows[index].column
        assert column is not None
        if rows[index].inactive and _spanned(columns, column):
            implied[index] = True
        else:
            columns.append(column)
            kept.append(index)
    design = np.stack(columns, axis=1)
    if len(target) == 0:
        return None
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
    return _Fit(effects, spread, df, implied)


def _spanned(columns: Sequence[Floats], column: Floats) -> bool:
    basis = np.stack(columns, axis=1)
    solution, *_ = np.linalg.lstsq(basis, column, rcond=None)
    return bool(np.linalg.norm(column - basis @ solution) <= 1e-8 * np.linalg.norm(column))


def _plain_effect(index: int, rows: Sequence[Row], target: Floats) -> float:
    """Difference of level means, or the slope over this factor alone."""
    row = rows[index]
    if row.column is None:
        return float("nan")
    if row.slope:
        return float(np.polyfit(row.column[row.where], target[row.where], 1)[0])
    same = [other for other in rows if other.factor == row.factor and (other.baseline or other.slope)]
    return float(target[row.where].mean() - target[same[0].where].mean())


def _columns(task_columns: Sequence[str]) -> list[str]:
    first = ["factor", "level", "baseline", "slope", "n", "mean", "sd", "effect", "se", "ci_low", "ci_high"]
    return [*first, "p", "p_holm", "visible", "verdict", "evidence", *task_columns]


def _with_tests(table: pd.DataFrame, df: int, alpha: float) -> pd.DataFrame:
    if df == 0:
        return table
    effect, error = table["effect"].to_numpy(np.float64), table["se"].to_numpy(np.float64)
    half_width = stats.t.isf(alpha / 2, df) * error
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stats.t.sf(np.abs(effect / error), df)
    p = np.where((error == 0) & (effect == 0), 1.0, p)
    comparisons = max(1, int(np.isfinite(effect).sum()))
    visible = [smallest_visible_difference(one, df, comparisons, alpha) for one in error]
    return table.assign(
        ci_low=effect - half_width, ci_high=effect + half_width, p=p, p_holm=holm(p), visible=visible
    )


def _verdicts(rows: Sequence[Row], table: pd.DataFrame, fit: _Fit | None, alpha: float) -> list[str]:
    return [
        _unjudged(index, row, fit) or _judged(row.slope, effect, p_holm < alpha)
        for index, (row, effect, p_holm) in enumerate(
            zip(rows, table["effect"], table["p_holm"], strict=True)
        )
    ]


def _unjudged(index: int, row: Row, fit: _Fit | None) -> str:
    """Why a row has no test, or an empty string when it has one."""
    if row.baseline:
        return "baseline"
    if row.column is None:
        return "not varied" if row.where.any() else "never ran"
    if fit is None:
        return "too few trials"
    if fit.implied[index]:
        return "set by other factors"
    return "not separable" if np.isnan(fit.effects[index]) else ""


def _judged(slope: bool, effect: float, sure: bool) -> str:
    if not sure:
        return "undecided"
    if slope:
        return "higher is better" if effect > 0 else "lower is better"
    return "better" if effect > 0 else "worse"
