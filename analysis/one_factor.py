"""The ablation table of a study of design one_factor: what each level does, everything else being equal.

Every run differs from the base in one factor (and in what the change switches on or off), with the
same seeds, so that the difference from the base is the level's doing. It is estimated over pairs of runs
of one replicate; intervals cover other seeds and other examples (``analysis.intervals``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.coding import level_text
from analysis.intervals import Difference, interval, p_difference, p_equivalent, paired_difference, visible
from analysis.scoring import Floats, influence, stack
from analysis.significance import holm
from analysis.study import Study, TaskInfo
from minbert.errors import UserError

DELTA = 0.01
"""One point: a smaller difference is as good as none."""
ALPHA = 0.05
SCORE = "score"
_BLOCK = 100
"""So many trials' predictions are read at once; all of a large study's would not fit in memory."""
VERDICTS = {
    "base": "what the other levels are compared with",
    "better": "sure, also after Holm's correction for all levels of the table",
    "worse": "as sure, the other way",
    "equivalent": "surely within ±δ of the base (two one-sided tests, each level by itself)",
    "undecided": "neither told from the base nor surely within ±δ of it",
    "one run: unknown seed noise": "one pair of runs does not show what another seed would change",
    "not run": "no finished pair of runs",
    "same run": "trains exactly as the base does",
}
"""What the verdicts of ``ablation_table`` mean."""

Pulls = Mapping[str, Mapping[int, Floats]]
"""By task and trial number: what each quoted example adds to the task's metric mapped to [0, 1]."""


def is_one_factor(study: Study) -> bool:
    """Whether the study's design gives an ablation table."""
    return study.meta.get("design") == "one_factor" or "comparisons" in study.meta


def ablation_table(study: Study, delta: float = DELTA, alpha: float = ALPHA) -> pd.DataFrame:
    """Compare every level of a one_factor study with its base, as ``compare_levels`` describes.

    Unfinished studies give the comparisons that there are. Results are quoted on all of dev where
    nothing was chosen on it (``quote: dev`` in study.yaml), else on the report half.

    Raises:
        UserError: the study is of another design.
    """
    levels = planned_levels(study)
    runs = study.trials[study.trials["state"] == "complete"]
    runs = runs[runs["config_id"].isin(levels["config_id"])]
    kinds = {task: info.kind for task, info in study.tasks.items()}
    return compare_levels(levels, runs, read_pulls(study, runs["number"]), kinds, delta, alpha)


def planned_levels(study: Study) -> pd.DataFrame:
    """One row a level, each factor's base level first: factor, level (text), base, config_id.

    Raises:
        UserError: the study is of another design, or study.yaml does not say what was compared.
    """
    meta = study.meta
    if not is_one_factor(study):
        raise UserError(f"{study.path}: an ablation table needs a study of design one_factor")
    try:
        base, baseline = dict(meta["base"]), str(meta["baseline"])
        others = [(str(one["factor"]), one["level"], str(one["config_id"])) for one in meta["comparisons"]]
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"{study.path / 'study.yaml'}: damaged: base, baseline or comparisons of design one_factor are missing"
        ) from None
    rows: list[tuple[str, str, bool, str]] = []
    for factor in dict.fromkeys(factor for factor, *_ in others):
        rows.append((factor, level_text(base.get(factor)), True, baseline))
        rows += [(factor, level_text(level), False, name) for own, level, name in others if own == factor]
    return pd.DataFrame(rows, columns=["factor", "level", "base", "config_id"])


def read_pulls(study: Study, numbers: Iterable[int]) -> dict[str, dict[int, Floats]]:
    """Read what each example that may be quoted adds to each trial's metrics (``scoring.influence``).

    Trials without predictions, or over other examples than the first one's, are left out.
    """
    everything = study.meta.get("quote") == "dev"
    chosen = sorted(int(number) for number in numbers)
    return {task: _task_pulls(study, task, info, chosen, everything) for task, info in study.tasks.items()}


def compare_levels(
    levels: pd.DataFrame,
    runs: pd.DataFrame,
    pulls: Pulls,
    kinds: Mapping[str, str],
    delta: float = DELTA,
    alpha: float = ALPHA,
) -> pd.DataFrame:
    """Compare levels with their factor's base over pairs of runs with one replicate.

    ``levels``: factor, level, base, config_id; ``runs``: number, config_id, replicate, cost_alone of finished
    runs; ``kinds``: the tasks and their kinds. Returns a row for every level and every target, the score
    first and then the tasks: target, factor, level, base, n (runs), mean and sd over runs, pairs, difference
    (over the pairs) with se, ci_low and ci_high, se_seeds and se_examples (the parts of se), p, p_holm,
    p_equivalent, visible (the smallest true difference that would have been found with 80% power at the
    corrected level), verdict (a key of ``VERDICTS``), examples (quoted), relative_cost (mean cost_alone
    against the base's, over the pairs). The score and its differences are in [0, 1], tasks in their own
    metric, accuracy or Pearson's r.

    Holm's correction (1979) goes over all levels of the score; each task is a secondary family of its
    own. A level that is both significant and within ±``delta`` is called better or worse.
    """
    known = [run for run in runs["number"] if all(run in pulls[task] for task in kinds)]
    finished = runs[runs["number"].isin(known)].sort_values("number", kind="stable")
    finished = finished.drop_duplicates(["config_id", "replicate"], keep="last")
    by_config = {str(name): own.set_index("replicate") for name, own in finished.groupby("config_id")}
    tables = []
    for target in (SCORE, *kinds):
        tasks = list(kinds) if target == SCORE else [target]
        # Pulls are in the unit of the score, where Pearson's r in [-1, 1] is halved.
        scale = 2.0 if kinds.get(target) == "regression" else 1.0
        values = {run: [scale * pulls[task][run] for task in tasks] for run in known}
        shift = -1.0 if scale == 2.0 else 0.0
        tables.append(_target_rows(target, levels, by_config, values, shift, delta, alpha))
    return pd.concat(tables, ignore_index=True)


def _target_rows(
    target: str,
    levels: pd.DataFrame,
    runs: Mapping[str, pd.DataFrame],
    values: Mapping[int, list[Floats]],
    shift: float,
    delta: float,
    alpha: float,
) -> pd.DataFrame:
    """The rows of one target, which are one family of tests."""
    records, differences = [], []
    none = pd.DataFrame({"number": [], "cost_alone": []})
    bases = dict(levels.loc[levels["base"], ["factor", "config_id"]].itertuples(index=False, name=None))
    for factor, level, is_base, name in levels[["factor", "level", "base", "config_id"]].itertuples(
        index=False
    ):
        own, base = runs.get(name, none), runs.get(bases[factor], none)
        pairs = own.index.intersection(base.index)
        metrics = np.array([np.mean([one.mean() for one in values[run]]) + shift for run in own["number"]])
        same = not is_base and name == bases[factor]
        difference = None if is_base or same else _difference(values, own, base, pairs)
        differences.append(difference)
        records.append(
            {
                "target": target,
                "factor": factor,
                "level": level,
                "base": is_base,
                "n": len(own),
                "mean": metrics.mean() if len(metrics) else np.nan,
                "sd": metrics.std(ddof=1) if len(metrics) > 1 else np.nan,
                "pairs": len(pairs),
                **_estimates(difference, delta),
                "same": same,
                "examples": sum(map(len, values[own["number"].iloc[0]])) if len(own) else 0,
                "relative_cost": _ratio(own, base, pairs),
            }
        )
    return _judged(pd.DataFrame(records, columns=list(_COLUMNS)), differences, alpha)


_ESTIMATES = (
    *("difference", "se", "ci_low", "ci_high", "se_seeds", "se_examples"),
    *("p", "p_holm", "p_equivalent", "visible"),
)
_COLUMNS = (
    *("target", "factor", "level", "base", "n", "mean", "sd", "pairs"),
    *_ESTIMATES,
    *("verdict", "same", "examples", "relative_cost"),
)


def _difference(
    values: Mapping[int, list[Floats]], own: pd.DataFrame, base: pd.DataFrame, pairs: pd.Index[Any]
) -> Difference | None:
    if not len(pairs):
        return None
    numbers = list(zip(own.loc[pairs, "number"], base.loc[pairs, "number"], strict=True))
    tasks = range(len(values[numbers[0][0]]))
    return paired_difference(
        [np.stack([values[one][task] - values[other][task] for one, other in numbers]) for task in tasks]
    )


def _estimates(difference: Difference | None, delta: float) -> dict[str, float]:
    if difference is None:
        return {}
    low, high = interval(difference)
    found = {
        "difference": difference.estimate,
        "se": difference.se,
        "ci_low": low,
        "ci_high": high,
        "se_seeds": np.sqrt(difference.seed_variance),
        "se_examples": np.sqrt(difference.example_variance),
        "p": p_difference(difference),
        "p_equivalent": p_equivalent(difference, delta),
    }
    return {name: float(value) for name, value in found.items()}


def _judged(table: pd.DataFrame, differences: Sequence[Difference | None], alpha: float) -> pd.DataFrame:
    """Correct the family's p-values and say what they mean."""
    table = table.assign(**table[list(_ESTIMATES)].astype("float64"))
    comparisons = max(1, int(table["p"].notna().sum()))
    table["p_holm"] = holm(table["p"].to_numpy(np.float64))
    table["visible"] = [
        np.nan if one is None else float(visible(one, comparisons, alpha)) for one in differences
    ]
    table["verdict"] = [_verdict(row, alpha) for row in table.to_dict("records")]
    return table.drop(columns="same")


def _verdict(row: Mapping[Any, Any], alpha: float) -> str:
    if row["base"]:
        return "base"
    if row["same"]:
        return "same run"
    if row["pairs"] == 0:
        return "not run"
    if row["pairs"] == 1:
        return "one run: unknown seed noise"
    if row["p_holm"] < alpha:
        return "better" if row["difference"] > 0 else "worse"
    return "equivalent" if row["p_equivalent"] < alpha else "undecided"


def _ratio(own: pd.DataFrame, base: pd.DataFrame, pairs: pd.Index[Any]) -> float:
    if not len(pairs):
        return float("nan")
    costs = base.loc[pairs, "cost_alone"].mean()
    return float(own.loc[pairs, "cost_alone"].mean() / costs) if costs > 0 else float("nan")


def _task_pulls(
    study: Study, task: str, info: TaskInfo, numbers: Sequence[int], everything: bool
) -> dict[int, Floats]:
    found: dict[int, Floats] = {}
    reference: list[int] = []  # the trial whose examples all others must have
    for start in range(0, len(numbers), _BLOCK):
        outputs = stack(study.predictions(task, [*reference, *numbers[start : start + _BLOCK]]))
        if outputs is None:
            continue
        reference = outputs.numbers[:1]
        quoted = np.ones(len(outputs.labels), bool) if everything else outputs.report
        labels = outputs.labels[quoted]
        if len(labels) > 1:
            found |= zip(
                outputs.numbers, influence(info.kind, outputs.values[:, quoted], labels), strict=True
            )
    return found
