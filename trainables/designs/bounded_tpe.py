"""TPE whose time for a draw does not grow with the study: it learns from a bounded number of trials."""

from __future__ import annotations

import heapq
import warnings
from collections.abc import Container
from copy import deepcopy as copied
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
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

    def __init__(self, **settings: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # ``group`` may change
            super().__init__(**settings)
        self._best = BestOlder()

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Find the parameters to draw together, at the beginning of a draw."""
        self._seen = _Seen(study, self._best)
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

    def __init__(self, study: optuna.Study, best: BestOlder) -> None:
        super().__init__(study.study_name, study._storage, sampler=study.sampler)
        self._part = best.worth_seeing(study.get_trials(deepcopy=False))

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        found = [trial for trial in self._part if states is None or trial.state in states]
        return copied(found) if deepcopy else found


class BestOlder:
    """The best complete trials of a growing study but for its newest ones; each trial is ranked once."""

    def __init__(self) -> None:
        self._best: list[FrozenTrial] = []
        self._unfinished: list[int] = []
        self._ranked = 0

    def worth_seeing(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        """The newest trials and the best complete ones before them, in the order of their numbers.

        Args:
            trials: of the study, as many as at the last call, or more.
        """
        older = max(len(trials) - NEWEST, 0)
        if older <= BEST:
            return trials
        looked_at = [trials[place] for place in (*self._unfinished, *range(self._ranked, older))]
        self._unfinished = [trial.number for trial in looked_at if not trial.state.is_finished()]
        self._ranked = older
        complete = [trial for trial in looked_at if trial.state is TrialState.COMPLETE]
        self._best = heapq.nsmallest(BEST, [*self._best, *complete], key=_rank)
        return [*sorted(self._best, key=lambda trial: trial.number), *trials[older:]]


def _rank(trial: FrozenTrial) -> tuple[float, int]:
    """Best first; of equal ones the earlier."""
    return -(trial.value or 0.0), trial.number
