"""ASHA goes on with the rungs that earlier starts of a study filled."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import TrialScheduler

from trainables.searcher import SuccessiveHalving
from trainables.settings import EarlyStopping


def decide(scheduler: SuccessiveHalving, name: str, epoch: int, score: float) -> str:
    trial: Any = SimpleNamespace(trial_id=name)
    scheduler.on_trial_add(None, trial)  # type: ignore[arg-type]
    return str(scheduler.on_trial_result(None, trial, {"epoch": epoch, "score": score}))  # type: ignore[arg-type]


def test_a_weak_trial_is_stopped_by_rungs_of_an_earlier_start() -> None:
    histories = [{1: 0.5, 2: 0.6}, {1: 0.6}, {1: 0.7}]
    scheduler = SuccessiveHalving(EarlyStopping(grace_epochs=1, reduction=3), 9, histories)
    assert decide(scheduler, "weak", 1, 0.4) == TrialScheduler.STOP
    assert decide(scheduler, "strong", 1, 0.8) == TrialScheduler.CONTINUE


def test_nothing_stops_a_first_trial() -> None:
    scheduler = SuccessiveHalving(EarlyStopping(), 9, [])
    assert decide(scheduler, "first", 1, 0.1) == TrialScheduler.CONTINUE


def test_nothing_stops_before_the_grace_period() -> None:
    scheduler = SuccessiveHalving(EarlyStopping(grace_epochs=2, reduction=3), 9, [{2: 0.9}, {2: 0.8}])
    assert decide(scheduler, "weak", 1, 0.1) == TrialScheduler.CONTINUE
    assert decide(scheduler, "weak", 2, 0.1) == TrialScheduler.STOP
