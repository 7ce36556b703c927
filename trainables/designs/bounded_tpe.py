"""TPE whose time for a draw does not grow with the study: it learns from a bounded number of trials."""

from __future__ import annotations

import heapq
from collections.abc import Container
from copy import deepcopy as copied
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

NEWEST, BEST = 400, 100
"""How many of the newest trials, and of the best older ones, TPE learns from."""


class BoundedTPE(optuna.samplers.TPESampler):
    """Optuna's TPE over the ``NEWEST`` trials and the ``BEST`` of the older ones.

    A draw takes time in proportion to the trials: a quarter of a second after 2,000 of full_ablation, while every slot
    waits. TPE models at most 25 good trials, which are all seen, against the others, whose weight falls with their
    age anyhow. Up to ``NEWEST`` + ``BEST`` trials the draws are Optuna's own.
    """

    _seen: optuna.Study | None = None

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Find the parameters to draw together, at the beginning of a draw."""
        self._seen = _Seen(study)
        return super().infer_relative_search_space(self._seen, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw them."""
        return super().sample_relative(self._seen or study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw a parameter that no earlier trial had."""
        return super().sample_independent(self._seen or study, trial, param_name, param_distribution)


class _Seen(optuna.Study):
    """A study as it stands now, of which some trials only are seen."""

    def __init__(self, study: optuna.Study) -> None:
        super().__init__(study.study_name, study._storage, sampler=study.sampler)
        self._part = worth_seeing(study.get_trials(deepcopy=False))

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        found = [trial for trial in self._part if states is None or trial.state in states]
        return copied(found) if deepcopy else found


def worth_seeing(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """The newest trials and the best complete ones before them, in the order of their numbers."""
    older, newest = trials[:-NEWEST], trials[-NEWEST:]
    if len(older) <= BEST:
        return trials
    complete = [trial for trial in older if trial.state is TrialState.COMPLETE]
    best = heapq.nlargest(BEST, complete, key=lambda trial: trial.value or 0.0)
    return [*sorted(best, key=lambda trial: trial.number), *newest]
