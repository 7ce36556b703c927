"""The ablation table of a study of design one_factor: what each level does, everything else being equal.

Every run differs from the base in one factor (and in what the change switches on or off), with the
same seeds, so that the difference from the base is the level's doing. It is estimated over pairs of runs
of one replicate; intervals cover other seeds and other examples (``analysis.intervals``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.coding import level_text
from analysis.description import as_level
from analysis.intervals import Difference, interval, p_difference, p_equivalent, paired_difference, visible
from analysis.quoted import NOT_STORED, Quoted, read_quoted
from analysis.relative_cost import COLUMNS as COST_COLUMNS
from analysis.relative_cost import relative_cost, trained_steps
from analysis.scoring import NO_NUMBERS, OTHER_EXAMPLES, Floats
from analysis.significance import holm
from analysis.study import Study
from minbert.errors import UserError

DELTA = 0.01
"""One point: a smaller difference is as good as none."""
ALPHA = 0.05
SCORE = "score"
VERDICTS = {
    "base": "what the other levels are compared with",
    "better": "sure, also after Holm's correction for all levels of the table",
    "worse": "as sure, the other way",
    "equivalent": "surely within ±δ of the base (two one-sided tests, each level by itself)",
    "undecided": "neither told from the base nor surely within ±δ of it",
    "one run: unknown seed noise": "one pair of runs does not show what another seed would change",
    "constant": "level and base give every example the same answer in all runs: nothing was measured",
    "not run": "no finished pair of runs",
    NOT_STORED: "runs finished, but not what they predicted for every task",
    OTHER_EXAMPLES: "runs finished, but on other examples than most runs",
    NO_NUMBERS: "runs finished, but predicted what is not a number",
    "same run": "trains exactly as the base does",
}
"""What the verdicts of ``ablation_table`` mean."""


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
    runs = runs.assign(steps=runs["number"].map(trained_steps(study)))
    kinds = {task: info.kind for task, info in study.tasks.items()}
    return compare_levels(levels, runs, read_quoted(study, runs["number"]), kinds, delta, alpha)


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
        rows.append((factor, level_text(as_level(base.get(factor))), True, baseline))
        rows += [
            (factor, level_text(as_level(level)), False, name) for own, level, name in others if own == factor
        ]
    return pd.DataFrame(rows, columns=["factor", "level", "base", "config_id"])


def compare_levels(
    levels: pd.DataFrame,
    runs: pd.DataFrame,
    quoted: Quoted,
    kinds: Mapping[str, str],
    delta: float = DELTA,
    alpha: float = ALPHA,
) -> pd.DataFrame:
    """Compare levels with their factor's base over pairs of runs with one replicate.

    ``levels``: factor, level, base, config_id; ``runs``: number, config_id, replicate, cost_alone and, where known,
    steps of finished runs; ``kinds``: the tasks and their kinds. Returns a row for every level and every target, the score
    first and then the tasks: target, factor, level, base, n (runs), mean and sd over runs, pairs, difference
    (over the pairs) with se, ci_low and ci_high, se_seeds and se_examples (the parts of se), p, p_holm,
    p_equivalent, visible (about the smallest true difference that would be found with 80% power at the
    corrected level, were the noise as estimated), verdict (a key of ``VERDICTS``), examples (quoted),
    relative_cost with relative_cost_low and _high, relative_steps (``relative_cost.relative_cost``), left_out
    (finished runs that do not count, as "number: reason"). The score and its differences are in [0, 1], tasks in their own metric,
    accuracy or Pearson's r.

    Holm's correction (1979) goes over all levels of the score; each task is a secondary family of its
    own. A level that is both significant and within ±``delta`` is called better or worse; one that
    answers a task alike throughout, as its base does, is never called equivalent on the score.
    """
    pulls = quoted.pulls
    known = [run for run in runs["number"] if all(run in pulls[task] for task in kinds)]
    finished, unknown = (
        _by_config(runs[runs["number"].isin(known)]),
        _by_config(runs[~runs["number"].isin(known)]),
    )
    tables = []
    for target in (SCORE, *kinds):
        tasks = list(kinds) if target == SCORE else [target]
        # Pulls are in the unit of the score, where Pearson's r in [-1, 1] is halved.
        scale = 2.0 if kinds.get(target) == "regression" else 1.0
        values = {run: [scale * pulls[task][run] for task in tasks] for run in known}
        shift = -1.0 if scale == 2.0 else 0.0
        constant = [quoted.constant.get(task, frozenset()) for task in tasks]
        counted = _Counted(finished, unknown, quoted.left_out, values, constant)
        tables.append(_target_rows(target, levels, counted, shift, delta, alpha))
    return pd.concat(tables, ignore_index=True)


@dataclass(frozen=True)
class _Counted:
    """The runs behind one target, by config_id and then by replicate."""

    finished: Mapping[str, pd.DataFrame]
    unknown: Mapping[str, pd.DataFrame]
    """Finished too, but without answers that could be compared."""
    reasons: Mapping[int, str]
    values: Mapping[int, list[Floats]]
    constant: Sequence[frozenset[int]]
    """For each of the target's tasks: the trials that always answer alike."""

    def left_out(self, name: str) -> tuple[tuple[int, str], ...]:
        """Number and reason of the unknown runs of a configuration."""
        own = self.unknown.get(name, _NONE)
        return tuple((int(one), self.reasons.get(int(one), NOT_STORED)) for one in own["number"])

    def why_no_pair(self, name: str, base: str) -> str:
        """The reason why no pair of a level and its base could be compared: a verdict."""
        both = [
            {*self.finished.get(one, _NONE).index, *self.unknown.get(one, _NONE).index}
            for one in (name, base)
        ]
        left_out = [*self.left_out(name), *self.left_out(base)]
        return left_out[0][1] if both[0] & both[1] and left_out else "not run"

    def always_alike(self, numbers: Sequence[int]) -> list[bool]:
        """For each task, whether all these trials answer alike throughout."""
        return [bool(len(numbers)) and one.issuperset(numbers) for one in self.constant]


_NONE = pd.DataFrame({"number": [], "cost_alone": []})


def _by_config(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Runs of every configuration by replicate; of a run repeated the last one."""
    last = runs.sort_values("number", kind="stable").drop_duplicates(["config_id", "replicate"], keep="last")
    return {str(name): own.set_index("replicate") for name, own in last.groupby("config_id")}


def _target_rows(
    target: str,
    levels: pd.DataFrame,
    runs: _Counted,
    shift: float,
    delta: float,
    alpha: float,
) -> pd.DataFrame:
    """The rows of one target, which are one family of tests."""
    records, differences = [], []
    bases = dict(levels.loc[levels["base"], ["factor", "config_id"]].itertuples(index=False, name=None))
    for factor, level, is_base, name in levels[["factor", "level", "base", "config_id"]].itertuples(
        index=False
    ):
        own, base = (runs.finished.get(one, _NONE) for one in (name, bases[factor]))
        pairs = own.index.intersection(base.index)
        values = runs.values
        metrics = np.array([np.mean([one.mean() for one in values[run]]) + shift for run in own["number"]])
        alike = runs.always_alike([*own.loc[pairs, "number"], *base.loc[pairs, "number"]])
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
                "constant": all(alike),
                "part_constant": any(alike),
                "no_pair": runs.why_no_pair(name, bases[factor]),
                "examples": sum(map(len, values[own["number"].iloc[0]])) if len(own) else 0,
                **relative_cost(own, base, pairs),
                "left_out": tuple(f"{number}: {why}" for number, why in runs.left_out(name)),
            }
        )
    return _judged(pd.DataFrame(records, columns=list(_COLUMNS)), differences, alpha)


_ESTIMATES = (
    *("difference", "se", "ci_low", "ci_high", "se_seeds", "se_examples"),
    *("p", "p_holm", "p_equivalent", "visible"),
)
_JUDGED_BY = ("same", "constant", "part_constant", "no_pair")
_COLUMNS = (
    *("target", "factor", "level", "base", "n", "mean", "sd", "pairs"),
    *_ESTIMATES,
    *("verdict", *_JUDGED_BY, "examples", *COST_COLUMNS, "left_out"),
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
    judged = ~(table["base"].astype(bool) | table["same"].astype(bool))
    comparisons = max(1, int(judged.sum()))  # planned ones: an unfinished study is no easier on itself
    table["p_holm"] = holm(table["p"].to_numpy(np.float64), comparisons)
    table["visible"] = [
        np.nan if one is None else float(visible(one, comparisons, alpha)) for one in differences
    ]
    table["verdict"] = [_verdict(row, alpha) for row in table.to_dict("records")]
    return table.drop(columns=list(_JUDGED_BY))


def _verdict(row: Mapping[Any, Any], alpha: float) -> str:
    if row["base"] or row["same"]:
        return "base" if row["base"] else "same run"
    if row["pairs"] == 0:
        return str(row["no_pair"])
    if row["constant"]:
        return "constant"
    if row["pairs"] == 1:
        return "one run: unknown seed noise"
    if row["p_holm"] < alpha:
        return "better" if row["difference"] > 0 else "worse"
    return "equivalent" if row["p_equivalent"] < alpha and not row["part_constant"] else "undecided"
