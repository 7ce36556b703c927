"""Which factors decide whether a configuration is among the best (PED-ANOVA), and how sure that is."""

from __future__ import annotations

import warnings
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from analysis.ablation import per_configuration
from analysis.coding import INACTIVE, level_text
from analysis.description import Factor
from analysis.scoring import Floats

MIN_CONFIGURATIONS = 20
TOP_SHARE = 0.1
TOP_LEAST = 5
"""The best tenth is what importance is about, but fewer configurations than these would be an accident."""
RESAMPLES = (10, 40)
_WORK = 120_000
"""Of large studies fewer bootstrap samples are drawn: about so many values are looked at for an objective."""
_COLUMNS = ("objective", "factor", "importance", "low", "high", "sd", "n")


@dataclass(frozen=True)
class Importance:
    """Importances of the factors for every objective."""

    table: pd.DataFrame
    """One row an objective and factor, the most important first: objective (a metric's column), factor,
    importance (share of the objective's sum), low and high (its 5% and 95% quantiles over the bootstrap), sd
    (over the bootstrap), n (configurations)."""
    reason: str = ""
    """Why the table is empty."""


def importance(
    trials: pd.DataFrame,
    factors: Sequence[Factor],
    tasks: Iterable[str],
    half: str = "report",
    resamples: int | None = None,
    seed: int = 0,
) -> Importance:
    """PED-ANOVA importances (Watanabe et al. 2023) for the score and every task on ``half``.

    An importance says how differently the best tenth of the configurations (at least ``TOP_LEAST``) and all
    of them are spread over a factor's levels; of a factor that is not always active, over those that
    have it, and counting how often they do (Optuna's conditional form). ``trials`` as for
    ``ablation.main_effects``. The spread is that over ``resamples`` bootstrap samples of the configurations,
    by default as many as ``RESAMPLES`` allows: factors whose intervals overlap cannot be ranked. A sample
    repeats configurations, which makes small importances larger, so these can lie below their interval.
    """
    objectives = [f"{half}/{name}" for name in ("score", *tasks)]
    seen = per_configuration(trials, factors, objectives).dropna(subset=objectives)
    empty = pd.DataFrame(columns=list(_COLUMNS))
    varied = [factor for factor in factors if len({level_text(value) for value in seen[factor.path]}) > 1]
    if len(seen) < MIN_CONFIGURATIONS:
        reason = f"{len(seen)} configurations have all scores; importances need {MIN_CONFIGURATIONS}"
        return Importance(empty, reason)
    if not varied:
        return Importance(empty, "no factor has more than one level among the configurations")
    frozen = _frozen(seen, varied, objectives)
    names = [factor.path for factor in varied]
    random = np.random.default_rng(seed)
    found = _shares(frozen, names, objectives)
    if resamples is None:
        resamples = int(np.clip(_WORK // (len(seen) * len(varied)), *RESAMPLES))
    picks = random.integers(len(frozen), size=(resamples, len(frozen)))
    spread = np.stack([_shares([frozen[one] for one in pick], names, objectives) for pick in picks])
    rows = [
        (
            objective,
            name,
            found[i, j],
            *np.quantile(spread[:, i, j], (0.05, 0.95)),
            spread[:, i, j].std(),
            len(seen),
        )
        for i, objective in enumerate(objectives)
        for j, name in sorted(enumerate(names), key=lambda pair: -found[i, pair[0]])
    ]
    return Importance(pd.DataFrame(rows, columns=list(_COLUMNS)))


class _Configurations(optuna.study.Study):
    """Configurations as a study, without the copies of them that a storage makes for every bootstrap sample."""

    def __init__(self, trials: list[FrozenTrial]) -> None:
        storage, told = InMemoryStorage(), optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(
            optuna.logging.WARNING
        )  # nobody need read that a study was made in memory
        number = storage.create_new_study([StudyDirection.MAXIMIZE], "configurations")
        optuna.logging.set_verbosity(told)
        super().__init__(storage.get_study_name_from_id(number), storage)
        self.configurations = trials

    def get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        return self.configurations


def _shares(trials: list[FrozenTrial], names: Sequence[str], objectives: Sequence[str]) -> Floats:
    """Importances (objectives, factors) of the trials, each objective's adding up to 1 or all 0."""
    study = _Configurations(trials)
    evaluator = PedAnovaImportanceEvaluator(target_quantile=max(TOP_SHARE, TOP_LEAST / len(trials)))
    found = np.zeros((len(objectives), len(names)))
    for index, objective in enumerate(objectives):

        def loss(trial: FrozenTrial, objective: str = objective) -> float:
            return -float(trial.user_attrs[objective])

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that values are losses, and that tiny regimes are left out
            raw = evaluator.evaluate(study, target=loss)
        found[index] = [raw.get(name, 0.0) for name in names]
    total = found.sum(axis=1, keepdims=True)
    shares: Floats = np.divide(found, total, out=np.zeros_like(found), where=total > 0)
    return shares


def _frozen(seen: pd.DataFrame, factors: Sequence[Factor], objectives: Sequence[str]) -> list[FrozenTrial]:
    """The configurations as Optuna's trials, with the factors that are active in each."""
    distributions = {factor.path: _distribution(factor, seen[factor.path]) for factor in factors}
    trials = []
    for number, row in enumerate(seen.to_dict("records")):
        active = {name: row[name] for name in distributions if level_text(row[name]) != INACTIVE}
        trials.append(
            FrozenTrial(
                number=number,
                trial_id=number,
                state=TrialState.COMPLETE,
                value=None,
                datetime_start=None,
                datetime_complete=None,
                params=active,
                distributions={name: distributions[name] for name in active},
                user_attrs={objective: float(row[objective]) for objective in objectives},
                system_attrs={},
                intermediate_values={},
            )
        )
    return trials


def _distribution(factor: Factor, values: pd.Series[Any]) -> BaseDistribution:
    seen = [value for value in values if level_text(value) != INACTIVE]
    if factor.levels is not None:
        return CategoricalDistribution(list(dict.fromkeys([*factor.levels, *seen])))
    low = min([*seen, factor.low if factor.low is not None else np.inf])
    high = max([*seen, factor.high if factor.high is not None else -np.inf])
    return FloatDistribution(float(low), float(high), log=factor.log)
