"""Early stopping whose decisions stand in the study: a trial that comes back is judged as it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from minbert.history import is_evaluated
from trainables.spaces.settings import EarlyStopping


class SuccessiveHalving(AsyncHyperBandScheduler):
    """ASHA (Li et al. 2020) whose rungs begin with what earlier starts of the study recorded.

    Args:
        settings: grace period and reduction factor.
        epochs: epochs of the longest trial.
        histories: scores by epoch of the study's trials, by number.
        stops: the epoch that a trial ends with, by number, where an earlier start decided so.
        number_of: which of them a trial of Tune's is, or which new one.
        stopping: is told of a trial that is to be stopped, and after which epoch, before anything else is.
    """

    def __init__(
        self,
        settings: EarlyStopping,
        epochs: int,
        histories: Mapping[int, Mapping[int, float]],
        stops: Mapping[int, int],
        number_of: Callable[[str], int],
        stopping: Callable[[str, int], None],
    ) -> None:
        super().__init__(
            time_attr="epoch",
            metric="score",
            mode="max",
            grace_period=settings.grace_epochs,
            max_t=max(epochs, settings.grace_epochs),
            reduction_factor=settings.reduction,
            stop_last_trials=False,
        )
        self._stops, self._number_of, self._stopping = stops, number_of, stopping
        for number, history in histories.items():
            for epoch, score in sorted(history.items()):
                self._brackets[0].on_result(_place(number), epoch, score)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Give a trial, of which Tune may have had one before that was handed out again, its place in the rungs."""
        super().on_trial_add(tune_controller, self._place_of(trial))

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Forget a trial that ends before it has started."""
        super().on_trial_remove(tune_controller, self._place_of(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether a trial goes on; of the epochs that it hands over at once, the last one decides.

        What was decided stays, and with it what came of it: the rungs know more now than they did then.
        """
        place = self._place_of(trial)
        self._take_in(place, result)
        decision = str(super().on_trial_result(tune_controller, place, result))
        last = self._stops.get(self._number_of(trial.trial_id))
        if last is not None and result["epoch"] >= last:
            return TrialScheduler.STOP
        if decision == TrialScheduler.STOP:
            self._stopping(trial.trial_id, result["epoch"])
        return decision

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Note a trial's last epochs."""
        place = self._place_of(trial)
        self._take_in(place, result)
        super().on_trial_complete(tune_controller, place, result)

    def _place_of(self, trial: Any) -> Any:
        return _place(self._number_of(trial.trial_id))

    def _take_in(self, place: Any, result: dict[str, Any]) -> None:
        """Let the epochs before the last one of a result enter their own rungs; they were decided upon before."""
        for record in result.get("records", []):
            if is_evaluated(record) and record["epoch"] < result["epoch"]:
                self._brackets[0].on_result(place, record["epoch"], record["select"]["score"])


def _place(number: int) -> Any:
    """What stands in the rungs for a trial of the study: once, however often Tune is given a trial for it."""
    return SimpleNamespace(trial_id=str(number))
