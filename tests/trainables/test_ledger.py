"""The account of trials survives whatever a driver leaves behind."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from minbert.config import Source
from tests.trainables.commands import SPACE
from trainables.designs.sampler import build_sampler
from trainables.spaces.space import Space, load_space
from trainables.studies import opening
from trainables.studies.journal import open_journal
from trainables.studies.ledger import EQUAL_FAILURES, Ledger
from trainables.studies.study import StudyFolder

PINNED: dict[str, Any] = {
    "data": Source(path="d", fingerprint="a"),
    "encoder": Source(path="e", fingerprint="b"),
    "device": "cpu",
    "precision": "fp32",
    "threads": 1,
}


@pytest.fixture
def space() -> Space:
    return load_space(str(SPACE))


def open_ledger(folder: Path, space: Space, trials: int | None = 4, replicates: int = 1) -> Ledger:
    """What a new driver does with a study folder."""
    study = optuna.create_study(
        storage=open_journal(folder), study_name="study", direction="maximize", load_if_exists=True
    )
    study.sampler = build_sampler(space, 0, len(study.trials))
    space = space.fix("search.replicates", replicates)
    space = space if trials is None else space.fix("search.trials", trials)
    return Ledger(study, space, PINNED, seed=0)


def record(epoch: int, score: float, best: tuple[int, float] | None = None) -> dict[str, Any]:
    """A history line of an evaluated epoch; `best`: the epoch that counts so far and its score."""
    best_epoch, best_score = best or (epoch, score)
    parts = {part: {"sst": score, "score": score} for part in ("select", "report", "dev")}
    chosen = {part: {"sst": best_score, "score": best_score} for part in parts}
    return {
        "stage": "finetune",
        "epoch": epoch,
        "train_seconds": 2.0,
        "eval_seconds": 0.5,
        "final_stage": True,
        "chosen": {"epoch": best_epoch, "measures": {}, "constant": ["qqp"], **chosen},
        **parts,
    }


def complete(ledger: Ledger, number: int, *scores: float) -> None:
    best: tuple[int, float] | None = None
    for epoch, score in enumerate(scores, 1):
        best = best if best and best[1] >= score else (epoch, score)
        ledger.report(number, record(epoch, score, best))
    ledger.finish(number, "complete")


def issue(ledger: Ledger) -> int:
    issued = ledger.next()
    assert issued is not None
    return issued.number


def test_hands_out_exactly_the_target(tmp_path: Path, space: Space) -> None:
    ledger = open_ledger(tmp_path, space, trials=3)
    for score in (0.1, 0.2, 0.3):
        complete(ledger, issue(ledger), score)
    assert ledger.next() is None
    assert [trial.state for trial in ledger.trials()] == [TrialState.COMPLETE] * 3


def test_value_is_the_best_epochs_score_and_metrics_are_of_that_epoch(tmp_path: Path, space: Space) -> None:
    ledger = open_ledger(tmp_path, space)
    complete(ledger, issue(ledger), 0.3, 0.5, 0.4)
    (trial,) = ledger.trials()
    assert trial.value == 0.5
    assert trial.user_attrs["best_epoch"] == 2
    assert trial.user_attrs["metrics"]["report/sst"] == 0.5
    assert trial.user_attrs["cost_paid"] == pytest.approx(7.5)
    assert trial.intermediate_values == {1: 0.3, 2: 0.5, 3: 0.4}


def test_a_new_driver_issues_unfinished_trials_again_with_the_same_configuration(
    tmp_path: Path, space: Space
) -> None:
    first = open_ledger(tmp_path, space)
    complete(first, issue(first), 0.4)
    lost = first.next()
    assert lost is not None
    first.report(lost.number, record(1, 0.2))
    second = open_ledger(tmp_path, space)
    again = second.next()
    assert again == lost
    second.report(lost.number, record(1, 0.2))  # the worker hands over what it had
    complete(second, lost.number, 0.2, 0.6)
    states = {trial.number: (trial.state, trial.value) for trial in second.trials()}
    assert states == {0: (TrialState.COMPLETE, 0.4), 1: (TrialState.COMPLETE, 0.6)}
    assert second.started == 2


@pytest.mark.parametrize("asked", [2, 3])
def test_interrupted_trials_are_finished_and_said_where_fewer_are_asked_for_now(
    tmp_path: Path, space: Space, asked: int
) -> None:
    first = open_ledger(tmp_path, space, trials=6)
    numbers = [issue(first) for _ in range(4)]
    for number in numbers[:2]:
        complete(first, number, 0.4)
    of = {"fingerprint": "same"}
    spec = {"space_fingerprint": space.fingerprint(), "seed": 0, "data": of, "encoder": of}
    lower, said = space.fix("search.replicates", 1).fix("search.trials", asked), StringIO()
    second = opening.open_ledger(StudyFolder(tmp_path, spec), lower, 0, PINNED, Console(file=said, width=200))
    assert "trials that were interrupted are finished, too: 4 trials in all, more than the" in said.getvalue()
    assert not second.done
    assert [issue(second), issue(second), second.next()] == [*numbers[2:], None]
    for number in numbers[2:]:
        complete(second, number, 0.4)
    assert second.done and [trial.state for trial in second.trials()] == [TrialState.COMPLETE] * 4
    third = opening.open_ledger(StudyFolder(tmp_path, spec), lower, 0, PINNED, Console(file=said, width=200))
    assert third.done and third.target == asked and said.getvalue().count("\n") == 1


def test_a_failure_that_was_noted_but_not_counted_is_forgotten_when_the_trial_goes_on(
    tmp_path: Path, space: Space
) -> None:
    first = open_ledger(tmp_path, space, trials=1)
    first._open[issue(first)].set_user_attr("cause", "lost")  # died before the trial was closed
    second = open_ledger(tmp_path, space, trials=1)
    complete(second, issue(second), 0.5)
    (trial,) = second.trials()
    assert (trial.state, trial.user_attrs["cause"]) == (TrialState.COMPLETE, None)


def test_a_trial_torn_while_being_asked_for_is_closed_and_does_not_count(
    tmp_path: Path, space: Space
) -> None:
    first = open_ledger(tmp_path, space, trials=2)
    first._study.ask().suggest_categorical("pooling", ["mean", "cls", "pooler"])
    second = open_ledger(tmp_path, space, trials=2)
    for _ in range(2):
        complete(second, issue(second), 0.5)
    assert second.next() is None
    assert second.unfinished == 0
    assert all(trial.state.is_finished() for trial in second._study.trials)


def test_a_replicate_waiting_in_the_queue_when_the_driver_died_is_run_once(
    tmp_path: Path, space: Space
) -> None:
    first = open_ledger(tmp_path, space, trials=2, replicates=2)
    complete(first, issue(first), 0.5)
    first._study.enqueue_trial(first.trials()[0].params)  # died between enqueue and ask
    second = open_ledger(tmp_path, space, trials=2, replicates=2)
    again = second.next()
    assert again is not None
    assert again.replicate == 1
    complete(second, again.number, 0.6)
    assert second.next() is None
    assert [trial.user_attrs["replicate"] for trial in second.trials()] == [0, 1]


def test_replicates_share_a_configuration_and_differ_in_seed(tmp_path: Path, space: Space) -> None:
    ledger = open_ledger(tmp_path, space, trials=3, replicates=3)
    configs = []
    for _ in range(3):
        issued = ledger.next()
        assert issued is not None
        configs.append(issued.config)
        complete(ledger, issued.number, 0.5)
    assert len({trial.user_attrs["config_id"] for trial in ledger.trials()}) == 1
    assert len({config.seed for config in configs}) == 3
    assert len({config.model_copy(update={"seed": 0}).model_dump_json() for config in configs}) == 1


def test_a_pruned_configuration_gets_no_replicates(tmp_path: Path, space: Space) -> None:
    ledger = open_ledger(tmp_path, space, trials=2, replicates=2)
    number = issue(ledger)
    ledger.report(number, record(1, 0.1))
    ledger.finish(number, "pruned")
    issue(ledger)
    assert len({trial.user_attrs["config_id"] for trial in ledger.trials()}) == 2
    assert ledger.trials()[0].state is TrialState.PRUNED
    assert ledger.trials()[0].value == 0.1


def test_seeds_of_a_replicate_are_the_same_for_all_configurations(tmp_path: Path, space: Space) -> None:
    ledger = open_ledger(tmp_path, space)
    issues = [ledger.next(), ledger.next()]
    assert issues[0] is not None
    assert issues[1] is not None
    assert issues[0].config.seed == issues[1].config.seed


def test_the_same_failure_again_and_again_stops_the_study(tmp_path: Path, space: Space) -> None:
    ledger = open_ledger(tmp_path, space, trials=20)
    for _ in range(EQUAL_FAILURES):
        assert ledger.stopped_by == ""
        ledger.finish(issue(ledger), "failed", "nan", "loss is nan")
    assert ledger.stopped_by == "nan"
    assert ledger.next() is None
    assert ledger.trials()[0].user_attrs["cause"] == "nan"


def test_a_restart_draws_new_points(tmp_path: Path, space: Space) -> None:
    seen = []
    for _ in range(4):
        ledger = open_ledger(tmp_path, space, trials=10)
        complete(ledger, issue(ledger), 0.5)
        seen.append(ledger.trials()[-1].params["stages.finetune.learning_rate"])
    assert len(set(seen)) == 4


def test_a_journal_left_locked_and_torn_by_a_killed_driver_is_continued(tmp_path: Path, space: Space) -> None:
    first = open_ledger(tmp_path, space)
    complete(first, issue(first), 0.5)
    journal = tmp_path / "journal.log"
    (tmp_path / "journal.log.lock").symlink_to(journal)  # what Optuna's own lock leaves behind
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":8,"worker_id":"x","tri')
    folder = StudyFolder(tmp_path, {})
    study = folder.journal(build_sampler(space, 0, 0))
    assert journal.read_bytes() == whole
    second = Ledger(study, space.fix("search.trials", 2), PINNED, seed=0)
    complete(second, issue(second), 0.6)
    assert [trial.value for trial in second.trials()] == [0.5, 0.6]


def test_states_are_counted_as_the_journal_has_them(tmp_path: Path, space: Space) -> None:
    first = open_ledger(tmp_path, space, trials=6)
    complete(first, issue(first), 0.5)
    first.finish(issue(first), "failed", "nan", "loss is nan")
    issue(first)
    for ledger in (first, open_ledger(tmp_path, space, trials=6)):
        assert (ledger.started, ledger.unfinished) == (3, 4)
        assert +ledger.states == {TrialState.COMPLETE: 1, TrialState.FAIL: 1, TrialState.RUNNING: 1}
    second = open_ledger(tmp_path, space, trials=6)
    complete(second, issue(second), 0.5)
    assert +second.states == {TrialState.COMPLETE: 2, TrialState.FAIL: 1}


def test_trials_share_their_distributions_and_a_ledger_forgets_what_ended(
    tmp_path: Path, space: Space
) -> None:
    first = open_ledger(tmp_path, space)
    complete(first, issue(first), 0.5)
    complete(first, issue(first), 0.6)
    for ledger in (first, open_ledger(tmp_path, space)):
        one, other = (trial.distributions for trial in ledger.trials())
        assert all(one[path] is other[path] for path in one.keys() & other.keys())
    assert not (first._open or first._reported or first._in_journal)


def test_a_new_driver_knows_the_scores_of_unfinished_trials_too(tmp_path: Path, space: Space) -> None:
    first = open_ledger(tmp_path, space)
    complete(first, issue(first), 0.5, 0.6)
    first.report(issue(first), record(1, 0.3))
    issue(first)
    assert open_ledger(tmp_path, space).histories() == {0: {1: 0.5, 2: 0.6}, 1: {1: 0.3}, 2: {}}


def test_epochs_that_are_handed_over_once_more_are_counted_once(tmp_path: Path, space: Space) -> None:
    ledger = open_ledger(tmp_path, space, trials=1)
    number = issue(ledger)
    ledger.report(number, record(1, 0.5))
    complete(ledger, number, 0.5, 0.6)  # its worker was lost, and the next one hands over all it has
    (trial,) = ledger.trials()
    assert trial.user_attrs["epochs"] == 2
    assert trial.user_attrs["cost_paid"] == pytest.approx(5.0)
