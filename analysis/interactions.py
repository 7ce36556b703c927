"""Which factors change each other's effect in a sampled study, and the command that puts an effect to the test.

A searched study is observational: two factors can seem to interact because its sampler tried them
together where something else was good. What is found here is a suggestion for a designed study.
"""

from __future__ import annotations

import argparse
import itertools
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from analysis.ablation import OBSERVATIONAL, leaderboard, per_configuration
from analysis.coding import Row, code, level_text
from analysis.conditions import conditions, has_effect, is_active, reachable_levels
from analysis.description import Factor
from analysis.estimation import MIN_DF
from analysis.scoring import Floats
from analysis.significance import holm
from analysis.study import Study
from minbert.errors import UserError, did_you_mean

TRIED = 50
"""So many of the best configurations can be those that a command starts from."""
MIN_TOGETHER = 2
"""So many configurations must have both levels for their combination to be judged."""
VERDICTS = {
    "interact": "the effect of one depends on the other, sure also after correcting for the number of pairs",
    "unsure": "not told from noise",
    "too few": "not enough configurations to judge by",
    "inseparable": "their combinations were not tried apart from other factors",
}
"""What the verdicts of ``interactions`` mean."""
_COLUMNS = (
    *("first", "second", "n", "f", "df", "df_residual", "p", "p_holm"),
    *("first_level", "second_level", "together", "effect", "se", "ci_low", "ci_high", "verdict", "evidence"),
)


def interactions(
    trials: pd.DataFrame, factors: Sequence[Factor], metric: str = "report/score", alpha: float = 0.05
) -> pd.DataFrame:
    """Test every pair of factors for an interaction on ``metric``, adjusted for all main effects.

    ``trials`` as for ``ablation.main_effects``; an observation is a configuration. Returns one row a pair,
    the likeliest interaction first: first, second (paths), n (configurations), the F test of all their
    products at once (f, df, df_residual, p, p_holm over the pairs), the combination of levels that stands
    out most (first_level, second_level, together: configurations with both) with its effect beyond the sum
    of the two main effects (against both baselines; of a range, per step) and an interval that is not
    corrected, verdict (a key of ``VERDICTS``) and evidence (always OBSERVATIONAL).
    """
    seen = per_configuration(trials, factors, [metric])
    coded = {factor.path: code(factor, seen[factor.path]) for factor in factors}
    target = seen[metric].to_numpy(np.float64)
    main = _basis([row for rows in coded.values() for row in rows], len(target))
    records = [
        _pair(main, target, coded[first.path], coded[second.path], alpha)
        | {"first": first.path, "second": second.path, "n": len(target)}
        for first, second in itertools.combinations(factors, 2)
    ]
    table = pd.DataFrame(records, columns=list(_COLUMNS))
    table = table.assign(p_holm=holm(table["p"].to_numpy(np.float64)), evidence=OBSERVATIONAL)
    judged = table["p"].notna()
    verdicts = np.where(table["p_holm"] < alpha, "interact", "unsure")
    table["verdict"] = table["verdict"].where(~judged, verdicts)
    return table.sort_values("p", kind="stable", na_position="last", ignore_index=True)


def confirm_command(study: Study, *factors: str) -> str:
    """The command that puts the effect of a factor, or the interaction of several, to the test.

    Of one factor every level is run around the study's best configuration (design one_factor), of several
    every combination (design grid), nothing else changing, five replicates each. The best configuration
    is that in which all the factors are active and change what is trained; where it is not the study's best, one factor is run as a grid too.

    Raises:
        UserError: no such factor, no trial with all of them is complete, or study.yaml's command is damaged.
    """
    by_path = {factor.path: factor for factor in study.factors}
    for name in factors:
        if name not in by_path:
            raise UserError(f"{study.path}: no factor {name!r}{did_you_mean(name, list(by_path))}")
    rank, best = _best_with(study, [by_path[name] for name in factors])
    around = len(factors) == 1 and rank == 1
    asked = _asked(study)
    words = ["python", "-m", "trainables.search", "--space", asked.space or study.name]
    # A factor of the space that the study fixed is none of the study's, but would be one again.
    settings = [
        one for one in asked.set if one.partition("=")[0] not in by_path and not one.startswith("search.")
    ]
    if around:
        words += ["--design", "one_factor", "--around", str(study.path)]
    else:
        words += ["--design", "grid", "--replicates", "5"]
    words += [
        word
        for name in ("data", "encoder")
        if getattr(asked, name)
        for word in (f"--{name}", getattr(asked, name))
    ]
    levels = reachable_levels(study, best, factors)
    # The search wants every value of a condition to be possible where the last setting has one, so those come first.
    ordered = sorted(levels, key=lambda path: not conditions(study, by_path[path]))
    settings += [f"{path}={_yaml(levels[path])}" for path in ordered]
    return shlex.join([*words, *(word for one in settings for word in ("--set", one))])


@dataclass(frozen=True)
class _Main:
    """An orthonormal basis of the main effects' model, (configurations, rank)."""

    basis: Floats

    def residual(self, columns: Floats) -> Floats:
        left: Floats = columns - self.basis @ (self.basis.T @ columns)
        return left

    @property
    def df(self) -> int:
        return int(self.basis.shape[0] - self.basis.shape[1])


def _basis(rows: Sequence[Row], configurations: int) -> _Main:
    columns = [np.ones(configurations), *(row.column for row in rows if row.column is not None)]
    if not configurations:
        return _Main(np.zeros((0, 0)))
    left, singular, _ = np.linalg.svd(np.stack(columns, axis=1), full_matrices=False)
    kept = singular > singular[0] * max(len(columns), configurations) * np.finfo(float).eps
    return _Main(left[:, kept])


def _pair(
    main: _Main, target: Floats, first: Sequence[Row], second: Sequence[Row], alpha: float
) -> dict[str, Any]:
    """The F test of a pair's products, and the product that stands out most."""
    pairs = [
        (one, other)
        for one, other in itertools.product(first, second)
        if one.column is not None and other.column is not None and not one.inactive and not other.inactive
    ]
    pairs = [(one, other) for one, other in pairs if (one.where & other.where).sum() >= MIN_TOGETHER]
    if not pairs or main.df <= MIN_DF:
        return {"verdict": "too few"}
    raw = np.stack([_product(one, other) for one, other in pairs], axis=1)
    products, rest = main.residual(raw), main.residual(target)
    left, singular, right = np.linalg.svd(products, full_matrices=False)
    kept = singular > 1e-8 * np.linalg.norm(raw)
    df, residual_df = int(kept.sum()), main.df - int(kept.sum())
    if not df:
        return {"verdict": "inseparable"}
    if residual_df < MIN_DF:
        return {"verdict": "too few"}
    left, right = left[:, kept], right[kept]
    explained = left.T @ rest
    variance = float(rest @ rest - explained @ explained) / residual_df
    if not variance > 1e-20:
        return {"verdict": "too few"}
    f = float(explained @ explained) / df / variance
    found = {"f": f, "df": df, "df_residual": residual_df, "p": float(stats.f.sf(f, df, residual_df))}
    inverse = right.T / singular[kept]
    effects, errors = inverse @ explained, np.sqrt(variance * np.sum(inverse**2, axis=1))
    # A product can be told apart from the others when its unit vector lies in the row space.
    estimable = np.sum(right**2, axis=0) > 1 - 1e-8
    if not estimable.any():
        return found
    best = int(np.argmax(np.where(estimable, np.abs(effects) / np.maximum(errors, 1e-300), -1.0)))
    half_width = stats.t.isf(alpha / 2, residual_df) * errors[best]
    return found | {
        "first_level": pairs[best][0].level,
        "second_level": pairs[best][1].level,
        "together": int((pairs[best][0].where & pairs[best][1].where).sum()),
        "effect": effects[best],
        "se": errors[best],
        "ci_low": effects[best] - half_width,
        "ci_high": effects[best] + half_width,
    }


def _product(one: Row, other: Row) -> Floats:
    assert one.column is not None and other.column is not None
    return one.column * other.column


def _asked(study: Study) -> argparse.Namespace:
    """What the study's own command said of its space and sources."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in ("--space", "--data", "--encoder"):
        parser.add_argument(name)
    parser.add_argument("--set", action="append", default=[])
    try:
        return parser.parse_known_args(shlex.split(str(study.meta.get("command", ""))))[0]
    except (ValueError, argparse.ArgumentError) as error:
        raise UserError(f"{study.path / 'study.yaml'}: damaged at command: {error}") from None


def _best_with(study: Study, factors: Sequence[Factor]) -> tuple[int, dict[str, Any]]:
    """Rank and levels of the best configuration in which all these factors are active and have an effect."""
    leaders = leaderboard(study.trials, study.tasks, len(study.trials), study.factors)
    if leaders.empty:
        raise UserError(f"{study.path}: no trial is complete yet, so there is no best configuration")
    paths = [factor.path for factor in factors]
    rows = [{str(name): value for name, value in row.items()} for row in leaders.to_dict("records")]
    active = [row for row in rows if all(is_active(factor, row) for factor in factors)]
    for row in active[:TRIED]:
        if all(has_effect(study, row, path, paths) for path in paths):
            return int(row["rank"]), row
    if not active:
        named = " and ".join(paths)
        raise UserError(
            f"{study.path}: no complete configuration has {named} active, so there is none to start from"
        )
    raise UserError(
        f"{study.path}: in none of the best configurations do the levels of {' or '.join(paths)} train differently, so "
        "there is none to start from"
    )


def _yaml(value: object) -> str:
    """A level in full precision as YAML 1.2 reads it."""
    return repr(float(value)) if isinstance(value, (float, np.floating)) else level_text(value)
