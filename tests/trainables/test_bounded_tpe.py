"""TPE over a bounded number of trials draws what Optuna's does, as long as these are all."""

from __future__ import annotations

import random
import warnings
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from trainables.designs.bounded_tpe import BEST, NEWEST, BoundedTPE, worth_seeing

SETTINGS: dict[str, Any] = {"n_startup_trials": 5, "multivariate": True, "group": True, "constant_liar": True}


def draw(trial: optuna.Trial) -> None:
    if trial.suggest_categorical("kind", ["a", "b"]) == "a":
        trial.suggest_float("rate", 1e-5, 1e-3, log=True)
    trial.suggest_float("dropout", 0.0, 0.5)


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)


def drawn(sampler: optuna.samplers.BaseSampler, trials: int) -> list[dict[str, Any]]:
    """Parameters of so many trials, two at a time, some of which are stopped early."""
    study, chance = optuna.create_study(direction="maximize", sampler=sampler), random.Random(0)
    for _ in range(trials // 2):
        pair = [study.ask(), study.ask()]
        for trial in pair:
            draw(trial)
        for trial in pair:
            trial.report(chance.random(), 1)
            if chance.random() < 0.3:
                study.tell(trial, state=TrialState.PRUNED)
            else:
                study.tell(trial, chance.random())
    return [trial.params for trial in study.trials]


def test_a_study_of_few_trials_is_drawn_as_by_optuna() -> None:
    assert drawn(BoundedTPE(seed=1, **SETTINGS), 40) == drawn(
        optuna.samplers.TPESampler(seed=1, **SETTINGS), 40
    )


def test_a_later_draw_learns_from_the_newest_trials_and_the_best_of_the_older_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []
    split = optuna.samplers._tpe.sampler._split_trials

    def watched(study: optuna.Study, trials: list[FrozenTrial], below: int) -> Any:
        seen.append(len(trials))
        return split(study, trials, below)

    monkeypatch.setattr(optuna.samplers._tpe.sampler, "_split_trials", watched)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    for number in range(NEWEST + BEST + 50):
        trial = study.ask()
        draw(trial)
        study.tell(trial, number % 7)
    study.sampler = BoundedTPE(seed=1, **SETTINGS)
    trial = study.ask()
    draw(trial)
    assert set(trial.params) >= {"kind", "dropout"}
    assert seen
    assert max(seen) < NEWEST + BEST


def test_what_is_seen_are_the_best_complete_trials_and_the_newest_in_order() -> None:
    trials = []
    for number in range(NEWEST + BEST + 30):
        state = TrialState.PRUNED if number % 10 == 0 else TrialState.COMPLETE
        trial = create_trial(state=state, value=float(-number) if state is TrialState.COMPLETE else None)
        trial.number = number
        trials.append(trial)
    numbers = [trial.number for trial in worth_seeing(trials)]
    assert numbers == sorted(numbers)
    assert numbers[-NEWEST:] == [trial.number for trial in trials[-NEWEST:]]
    complete = [number for number in range(BEST + 30) if number % 10]
    assert numbers[:-NEWEST] == complete[:BEST]
    assert worth_seeing(trials[: NEWEST + BEST]) == trials[: NEWEST + BEST]
