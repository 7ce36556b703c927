"""TPE over a bounded number of trials draws what Optuna's does, as long as these are all."""

from __future__ import annotations

import random
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from trainables.designs.bounded_tpe import BEST, NEWEST, BestOlder, BoundedTPE

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


class Looked(list[FrozenTrial]):
    """Trials that count how many of them are looked at one by one."""

    looks = 0

    def __getitem__(self, place: Any) -> Any:
        self.looks += isinstance(place, int)
        return super().__getitem__(place)


def trials_of(states: list[TrialState]) -> Looked:
    """A study of trials in these states; of the complete ones every tenth is as good as another."""
    trials = Looked()
    for number, state in enumerate(states):
        value = float(-number // 10) if state is TrialState.COMPLETE else None
        trial = create_trial(state=state, value=value)
        trial.number = number
        trials.append(trial)
    return trials


def numbers_of(trials: list[FrozenTrial]) -> list[int]:
    return [trial.number for trial in trials]


def test_what_is_seen_are_the_best_complete_trials_and_the_newest_in_order() -> None:
    states = [TrialState.COMPLETE] * (NEWEST + BEST + 30)
    states[::10] = [TrialState.PRUNED] * len(states[::10])
    trials = trials_of(states)
    complete = [number for number in range(BEST + 30) if number % 10]
    assert numbers_of(BestOlder().worth_seeing(trials)) == [*complete[:BEST], *range(BEST + 30, len(trials))]
    assert BestOlder().worth_seeing(trials[: NEWEST + BEST]) == trials[: NEWEST + BEST]


def test_a_growing_study_is_seen_as_one_read_anew_and_a_trial_that_has_ended_is_ranked_once() -> None:
    ends = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    states = [random.Random(number).choice(ends) for number in range(NEWEST + 4 * BEST)]
    best, looks, calls = BestOlder(), 0, range(NEWEST, len(states) + 1, 20)
    for count in calls:
        now = list(states[:count])
        if count < NEWEST + 3 * BEST:
            now[::100] = [TrialState.RUNNING] * len(now[::100])  # ends long after all others of its age
        trials = trials_of(now)
        assert numbers_of(best.worth_seeing(trials)) == numbers_of(BestOlder().worth_seeing(trials[:]))
        looks += trials.looks
    assert looks <= 4 * BEST + 4 * len(calls)


NOISY = """\
import sys, warnings
import optuna
from minbert.command_line import run
from trainables.spaces.space import load_space
from trainables.designs.sampler import build_sampler

def main():
    space = load_space(sys.argv[1])
    study = optuna.create_study(sampler=build_sampler(space, 0, 0))
    for _ in range(3):
        trial = study.ask()
        space.ask(trial)
        study.tell(trial, 0.5)
    warnings.warn(f"{len(study.trials)} drawn")
    print("drawn")
    return 0

optuna.logging.set_verbosity(optuna.logging.ERROR)
sys.exit(run(main))
"""


def test_no_warning_of_optunas_reaches_the_terminal(tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    wide = "stages: {finetune: {epochs: 1, warmup_steps: {int: [1, 1000000000]}}}"
    space.write_text("description: wide\nsearch: {design: optuna, startup_trials: 1}\n" + wide + "\n")
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", NOISY, str(space)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "drawn\n", "")


def test_to_make_a_sampler_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        BoundedTPE(seed=1, **SETTINGS)
