"""Studies whose driver is killed -9 over and over, at every failpoint and at random moments: nothing is lost.

These carry the marker ``chaos`` (``make test-chaos``); ``test_search_command.py`` has the fast part.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from minbert.files.sealed import is_intact
from tests.trainables.killing import Mortal, mortal, results
from tests.trainables.studies import counted, folder_of, history, outcome, predictions, repeat, weights
from trainables.studies.kept_models import KEPT_MODELS

# Every point is reached by one of the studies below; that none is missing is tested in test_failpoints. Each line is
# a start: a worker is killed at each of its points, and at the last one the driver, too. So a point of the recovery
# comes right after the one that makes a recovery necessary.
ON_BEGINNING = (
    ("attempt.claimed", "config.written", "history.dropped"),
    ("checkpoint.filled",),
    ("checkpoint.placed", "history.caught_up"),
    ("history.before", "history.after"),
    ("checkpoint.retired", "checkpoint.brought_back"),
)
ON_IMPROVING = (
    ("best.filled",),
    ("best.placed",),
    ("best.retired", "best.brought_back"),
    ("predictions.filled",),
    ("predictions.placed",),
    ("predictions.retired", "predictions.brought_back"),
)
ON_SHARING = (("stages.filled",), ("stages.placed",))
ON_WORKERS = {
    point for starts in (ON_BEGINNING, ON_IMPROVING, ON_SHARING) for start in starts for point in start
}
IN_THE_DRIVER = (
    "study.written", "study.after", "corpus.filled", "corpus.placed", "journal.before", "journal.after",
    "ledger.asked", "ledger.abandoning", "ledger.drawn", "ledger.whole", "ledger.issuing_again",
    "ledger.before_report", "ledger.after_report", "ledger.before_tell", "ledger.after_tell", "ledger.enqueued",
    "models.dropping",
)  # fmt: skip
# Entries of these two are keyed by their content: only a damaged one is replaced, and made anew after a crash.
ON_DAMAGE = ("corpus.retired", "stages.retired")

ONE_SLOT = ("--max-concurrent", "1")
STAGES = "stages: {simcse: {epochs: 1, epoch_examples: 64}, finetune: {epochs: 4, epoch_examples: 96}}\n"
GRID = """\
search: {design: grid}
pooling: {choice: [mean, cls, pooler]}
stages: {finetune: {epochs: 3, epoch_examples: 96}}
"""
ONE_RUN = "search: {design: listed}\nruns: {mean: {}}\n"
LISTED = (
    "search: {design: listed}\nruns: {mean: {}, cls: {set: {pooling: cls}}, max: {set: {pooling: pooler}}}\n"
)
ONE_FACTOR = """\
search: {design: one_factor, replicates: 2}
pooling: {choice: [mean, cls, pooler]}
shared_layer: {choice: [none, all]}
"""
DRAWN = """\
search: {design: optuna, trials: 6, replicates: 2, startup_trials: 2, early_stopping: {grace_epochs: 1, reduction: 2}}
pooling: {choice: [mean, cls]}
stages:
  simcse: {epochs: 1, epoch_examples: 64}
  finetune: {epochs: 3, epoch_examples: 96, learning_rate: {log_uniform: [1e-5, 1e-3]}}
"""


@pytest.mark.chaos
def test_a_drawn_study_killed_again_and_again_has_its_trials_once_and_each_can_be_repeated(
    tmp_path: Path,
) -> None:
    search, study = mortal(tmp_path, DRAWN), tmp_path / "results" / "space"
    chance = random.Random(3)
    for point in IN_THE_DRIVER:
        search.die_at(point)
        if point in ("ledger.whole", "ledger.issuing_again", "ledger.after_report"):
            # Too short for both running trials to end: one must be left for the points that follow.
            search.die_after(chance.uniform(0, search.longest), training=chance.uniform(0, 1))
        if point == "journal.after":  # as a power cut leaves it
            with (study / "journal.log").open("ab") as journal:
                journal.write(b'{"op_code":8,"worker_id":"x","tri')
    assert search.kills >= 20
    for _ in range(5):
        search.die_after(chance.uniform(0, search.longest))
    search.run()
    trials = counted(study)
    assert len(trials) == 6
    assert {trial.state.name for trial in trials} <= {"COMPLETE", "PRUNED"}
    names = [(trial.user_attrs["config_id"], trial.user_attrs["replicate"]) for trial in trials]
    assert len(set(names)) == 6
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    models = [weights(folder_of(study, trial.number)) for trial in complete]
    assert sum(map(bool, models)) >= min(len(complete), KEPT_MODELS) > 0
    for trial in trials:
        folder = folder_of(study, trial.number)
        alone = repeat(folder, tmp_path / f"alone-{trial.number}")
        told, whole = history(folder), history(alone)
        assert told == whole[: len(told)]  # a pruned trial ends before its last epoch
        assert trial.value == told[-1]["chosen"]["select"]["score"]
        assert trial.intermediate_values == scores(told)
        if trial in complete:
            assert predictions(folder) == predictions(alone) != {}
            assert weights(folder) in ({}, weights(alone))


def scores(records: list[dict[str, Any]]) -> dict[int, float]:
    return {record["epoch"]: record["select"]["score"] for record in records if "select" in record}


@pytest.mark.chaos
@pytest.mark.parametrize(
    ("content", "starts", "options"),
    [(ONE_FACTOR + STAGES, ON_IMPROVING, ()), (GRID, ON_BEGINNING, ONE_SLOT)],
    ids=["one_factor", "grid"],
)
def test_a_planned_study_killed_again_and_again_ends_as_if_undisturbed(
    tmp_path: Path, content: str, starts: tuple[tuple[str, ...], ...], options: tuple[str, ...]
) -> None:
    killed = mortal(tmp_path / "killed", content, *options)
    for points in starts:
        killed.die_at(*points)
    chance = random.Random(1)
    for _ in range(2):
        killed.die_while_training(chance.uniform(0, 2))
    assert killed.kills >= len(starts)
    assert_ends_as_if_undisturbed(killed, mortal(tmp_path / "undisturbed", content))


@pytest.mark.chaos
def test_a_listed_study_killed_again_and_again_while_stages_and_corpus_are_replaced_ends_as_if_undisturbed(
    tmp_path: Path,
) -> None:
    killed = mortal(tmp_path / "killed", LISTED + STAGES, *ONE_SLOT)
    for points in ON_SHARING:
        killed.die_at(*points)
    damaged = [
        *results(killed).glob("corpus/*/index.json"),
        *results(killed).glob("stages/*/state.safetensors"),
    ]
    assert len(damaged) == 2
    for path in damaged:
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    for point, path in zip(ON_DAMAGE, damaged, strict=True):
        killed.die_at(point)
        assert not path.exists()
    killed.die_at("history.after")
    assert killed.kills == 5
    killed.die_while_training(random.Random(3).uniform(0, 2))
    assert_ends_as_if_undisturbed(killed, mortal(tmp_path / "undisturbed", LISTED + STAGES))
    assert all(is_intact(path.parent) for path in damaged)
    assert not list(results(killed).glob("corpus/.*"))


def assert_ends_as_if_undisturbed(killed: Mortal, undisturbed: Mortal) -> None:
    """The same command completes the study, to what one search that nobody disturbs comes to."""
    killed.run()
    undisturbed.run()
    expected, found = outcome(results(undisturbed)), outcome(results(killed))
    assert found.keys() == expected.keys()
    for name in expected:
        assert found[name] == expected[name]
    assert {trial["state"] for trial in found.values()} == {"COMPLETE"}
    assert sum(bool(trial["weights"]) for trial in found.values()) >= min(len(found), KEPT_MODELS)
    assert not [*results(killed).glob("stages/.*"), *results(killed).glob("tune")]
