from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState

from analysis.ablation import main_effects
from analysis.common_epoch import at_common_epoch
from analysis.study import Study, load

HEAD = "tasks.sts.head.kind"
HEADS = [{"path": HEAD, "levels": ["cosine", "cross"]}]
COSINE, CROSS = {HEAD: "cosine"}, {HEAD: "cross"}


def effect_of_cross(study: Study, **options: Any) -> float:
    trials = options.get("trials", at_common_epoch(study).trials)
    table = main_effects(trials, study.factors, study.tasks).set_index("level")
    assert table["baseline"].to_dict()["cosine"]
    effect: float = table["effect"].to_dict()["cross"]
    return effect


def stopped_early(writer: Any) -> None:
    """24 configurations, of which those above 0.65 at epoch 1 go on and gain 0.05 an epoch.

    Cross is better by 0.1, but half of the cosine ones are very good and only these survive.
    """
    random = np.random.default_rng(0)
    for place in range(24):
        cross = place % 2 == 1
        first = (0.7 if cross else (0.3, 0.9)[place // 2 % 2]) + 0.005 * random.normal()
        if first > 0.65:
            curve = [first, first + 0.05, first + 0.1]
            writer.add_curve(TrialState.COMPLETE, CROSS if cross else COSINE, curve)
        else:
            writer.add_curve(TrialState.PRUNED, CROSS if cross else COSINE, [first])


def test_effects_do_not_come_from_survivors(new_study: Callable[..., Any]) -> None:
    writer = new_study(factors=HEADS)
    stopped_early(writer)
    study = load(writer.path)
    survivors = study.trials[study.trials["state"] == "complete"]
    assert effect_of_cross(study, trials=survivors) == pytest.approx(-0.2, abs=0.01)
    assert effect_of_cross(study) == pytest.approx(0.1, abs=0.01)
    compared = at_common_epoch(study)
    assert (len(compared.trials), compared.epoch, compared.last) == (24, 1, 3)
    assert compared.trials["report/sst"].max() < 0.95
    assert compared.description.startswith("Scores after epoch 1 of 3 of all 24 trials, whether stopped")


def test_without_early_stopping_final_scores_are_compared(new_study: Callable[..., Any]) -> None:
    writer = new_study(factors=HEADS)
    for place in range(8):
        writer.add_curve(TrialState.COMPLETE, (COSINE, CROSS)[place % 2], [0.5, 0.6 + 0.2 * (place % 2)])
    writer.add_curve(TrialState.FAIL, CROSS, [0.1])
    writer.add_curve(TrialState.RUNNING, CROSS, [0.1])
    study = load(writer.path)
    compared = at_common_epoch(study)
    assert effect_of_cross(study) == pytest.approx(0.2)
    assert (compared.epoch, compared.when) == (None, "")
    assert "Final scores" in compared.description


def test_running_failed_and_abandoned_trials_do_not_count(new_study: Callable[..., Any]) -> None:
    writer = new_study(factors=HEADS)
    stopped_early(writer)
    writer.add_curve(TrialState.RUNNING, CROSS, [0.0])
    writer.add_curve(TrialState.FAIL, CROSS, [0.0])
    writer.add_curve(TrialState.PRUNED, CROSS, [0.0], abandoned=True)
    study = load(writer.path)
    assert sorted(at_common_epoch(study).trials["number"]) == list(range(24))
    assert effect_of_cross(study) == pytest.approx(0.1, abs=0.01)


def test_the_common_epoch_is_the_latest_that_nine_in_ten_reached(new_study: Callable[..., Any]) -> None:
    writer = new_study(factors=HEADS)
    for place in range(9):
        writer.add_curve(TrialState.PRUNED, CROSS, [0.5, 0.6 + 0.01 * place, 0.9][: 3 if place < 8 else 2])
    writer.add_curve(TrialState.PRUNED, CROSS, [0.5])
    compared = at_common_epoch(load(writer.path))
    assert (compared.epoch, compared.last, len(compared.trials), compared.finished) == (2, 3, 9, 10)
    np.testing.assert_allclose(compared.trials["score"], 0.6 + 0.01 * np.arange(9))
    assert "the 9 of 10 trials that reached it" in compared.description
    assert "at full length the effects may differ" in compared.description


def test_a_later_run_that_only_survivors_get_does_not_count(new_study: Callable[..., Any]) -> None:
    writer = new_study(factors=HEADS)
    stopped_early(writer)
    before = effect_of_cross(load(writer.path))
    writer.add_curve(TrialState.COMPLETE, CROSS, [0.1, 0.9], config_id="c1", replicate=1)
    study = load(writer.path)
    assert effect_of_cross(study) == before
    assert "Only the first run of a configuration counts" in at_common_epoch(study).description


def test_stopped_trials_without_histories_leave_nothing_to_compare(new_study: Callable[..., Any]) -> None:
    writer = new_study(factors=HEADS)
    number = writer.add_curve(TrialState.PRUNED, CROSS, [0.5])
    file = writer.path / "trials" / f"{number:05d}" / "history.jsonl"
    for left in ("", '{"stage": "simcse", "epoch": 1}\n'):
        file.write_text(left)
        study = load(writer.path)
        compared = at_common_epoch(study)
        assert compared.trials.empty
        assert (compared.epoch, compared.when) == (None, "")
        assert compared.description == "Histories lack scored epochs, so effects cannot be computed."
        assert set(main_effects(compared.trials, study.factors, study.tasks)["verdict"]) == {"never ran"}


def test_scores_of_an_earlier_stage_do_not_count(new_study: Callable[..., Any]) -> None:
    """A stage before the last one is scored too, to show what later stages make a task forget."""
    writer = new_study(factors=HEADS)
    for number, (parameters, score) in enumerate([(CROSS, 0.5), (COSINE, 0.4)] * 3):
        writer.add_curve(
            TrialState.COMPLETE, parameters, [score + number / 100, score], config_id=f"c{number}"
        )
    writer.add_curve(TrialState.PRUNED, CROSS, [0.5, 0.5])
    before = effect_of_cross(load(writer.path))
    for file in writer.path.glob("trials/*/history.jsonl"):
        record = json.loads(file.read_text().splitlines()[0])
        early = {
            **record,
            "stage": "first",
            "epoch": 2,
            "final_stage": False,
            "select": {**record["select"], "score": 0.0},
        }
        file.write_text(file.read_text() + json.dumps(early) + "\n")
    assert effect_of_cross(load(writer.path)) == before


def test_histories_that_do_not_say_which_stage_is_the_last_count_by_their_last_one(
    new_study: Callable[..., Any],
) -> None:
    """As older studies are: only a trial that ended surely got there."""
    writer = new_study(factors=HEADS)
    stopped_early(writer)
    writer.add_curve(TrialState.RUNNING, CROSS, [0.1])
    expected = at_common_epoch(load(writer.path))
    for file in writer.path.glob("trials/*/history.jsonl"):
        records = [json.loads(line) for line in file.read_text().splitlines()]
        for record in records:
            del record["final_stage"]
        first = {**records[0], "stage": "first", "select": {**records[0]["select"], "score": 0.0}}
        file.write_text("".join(json.dumps(record) + "\n" for record in [first, *records]))
    study = load(writer.path)
    found = at_common_epoch(study)
    assert (found.epoch, found.last, found.description) == (1, 3, expected.description)
    np.testing.assert_array_equal(found.trials["report/score"], expected.trials["report/score"])
    assert set(study.scored_epochs["stage"]) == {"finetune"}
    assert study.scored_epochs["number"].max() == 23
