"""What each factor does to the score, and which configurations lead: ``python -m analysis.ablation STUDY`` prints it.

Of a design that changes one factor at a time, that is ``ablation_table`` (``analysis.one_factor``). A searched study is observational: its sampler chose what to try, and tried what looked good
more often. Effects are therefore adjusted for the other factors by ordinary least squares
and marked as observational; runs designed to differ in one factor only are what confirms them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from analysis.coding import Row, code
from analysis.description import Factor
from analysis.estimation import estimate
from analysis.one_factor import ablation_table
from analysis.scoring import Floats
from analysis.significance import holm, smallest_visible_difference
from minbert.command_line import run

__all__ = [
    "LEVEL_MEANS",
    "OBSERVATIONAL",
    "VERDICTS",
    "ablation_table",
    "leaderboard",
    "main_effects",
    "per_configuration",
]

OBSERVATIONAL = "observational"
LEVEL_MEANS = "level means"
VERDICTS = {
    "better": "sure, also after correcting for the number of tests (of a range: raising it helps)",
    "worse": "as sure, the other way",
    "unsure": "not told from noise",
    "baseline": "what the factor's other levels are compared with",
    "too few": "not enough configurations to judge by",
    "never ran": "no configuration had it",
    "not varied": "no configuration had anything else",
    "implied": "inactive because of another factor, whose row carries the effect",
    "inseparable": "only changed together with other factors",
}
"""What the verdicts of ``main_effects`` mean."""


def main_effects(
    trials: pd.DataFrame,
    factors: Sequence[Factor],
    tasks: Iterable[str],
    metric: str = "report/score",
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Estimate the main effect of every level of every factor on ``metric``.

    ``trials`` are the trials to compare, as ``common_epoch.at_common_epoch`` gives them; replicates
    are averaged first, so an observation is a configuration. Returns one row a level, or one for
    the slope of a continuous factor: factor, level, baseline, slope, n (configurations), mean, sd,
    effect against the baseline level, se, ci_low, ci_high, p, p_holm (over the whole table), visible
    (the smallest true effect this row would have shown with 80% power at the corrected level),
    verdict (a key of ``VERDICTS``), evidence, and the mean of each task's metric. All in the unit
    of ``metric``.

    Effects are adjusted for the other factors (evidence OBSERVATIONAL), or plain differences of
    level means with Welch's intervals (LEVEL_MEANS) where configurations are too few for that.
    """
    half = metric.partition("/")[0]
    task_columns = [f"{half}/{task}" for task in tasks if f"{half}/{task}" in trials]
    seen = per_configuration(trials, factors, [metric, *task_columns])
    rows = [row for factor in factors for row in code(factor, seen[factor.path])]
    target = seen[metric].to_numpy(np.float64)
    found = estimate(rows, target)
    records = []
    for row, effect, error in zip(rows, found.effects, found.errors, strict=True):
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
                "effect": effect,
                "se": error,
                "evidence": OBSERVATIONAL if found.adjusted else LEVEL_MEANS,
                **{name: seen.loc[row.where, name].mean() for name in task_columns},
            }
        )
    table = _with_tests(pd.DataFrame(records, columns=_columns(task_columns)), found.df, alpha)
    judged = zip(rows, found.implied, table["effect"], table["p_holm"], strict=True)
    return table.assign(verdict=[_verdict(*one, alpha) for one in judged])


def per_configuration(
    trials: pd.DataFrame, factors: Sequence[Factor], metrics: Sequence[str]
) -> pd.DataFrame:
    """One row a configuration of ``trials`` that has the first metric: its factors and the means
    of ``metrics``. Whether the trials' scores can be compared is up to the caller."""
    paths = [factor.path for factor in factors]
    known = trials[trials[metrics[0]].notna()]
    names = known["config_id"].where(known["config_id"].notna(), known["number"].astype(str))
    known = known.assign(config_id=names)
    means = known.groupby("config_id", sort=False)[list(metrics)].mean()
    settings = known.drop_duplicates("config_id").set_index("config_id")[paths]
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


def _columns(task_columns: Sequence[str]) -> list[str]:
    first = ["factor", "level", "baseline", "slope", "n", "mean", "sd", "effect", "se", "ci_low", "ci_high"]
    return [*first, "p", "p_holm", "visible", "verdict", "evidence", *task_columns]


def _with_tests(table: pd.DataFrame, df: Floats, alpha: float) -> pd.DataFrame:
    effect, error = table["effect"].to_numpy(np.float64), table["se"].to_numpy(np.float64)
    half_width = stats.t.isf(alpha / 2, df) * error
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stats.t.sf(np.abs(effect / error), df)
    p = np.where((error == 0) & (effect == 0), 1.0, p)
    comparisons = max(1, int(np.isfinite(p).sum()))
    visible = [
        smallest_visible_difference(one, freedom, comparisons, alpha)
        for one, freedom in zip(error, df, strict=True)
    ]
    return table.assign(
        ci_low=effect - half_width, ci_high=effect + half_width, p=p, p_holm=holm(p), visible=visible
    )


def _verdict(row: Row, implied: bool, effect: float, p: float, alpha: float) -> str:
    if row.baseline:
        return "baseline"
    if row.column is None:
        return "not varied" if row.where.any() else "never ran"
    if implied:
        return "implied"
    if np.isnan(effect):
        return "inseparable"
    if np.isnan(p):
        return "too few"
    return "unsure" if p >= alpha else "better" if effect > 0 else "worse"


if __name__ == "__main__":
    from analysis.ablation_page import main  # which needs this module

    sys.exit(run(main))
