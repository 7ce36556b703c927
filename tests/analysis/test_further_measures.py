"""The best trial's further measures are those of its history."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
from optuna.trial import TrialState

from analysis.further_measures import further_measures
from analysis.report import write_report
from analysis.study import load
from tests.analysis.conftest import StudyWriter, sample_parameters


def test_measures_of_the_best_epoch_geometry_of_stage_ends_and_mean_conflicts(
    new_study: Callable[..., StudyWriter],
) -> None:
    writer = new_study()
    parameters = sample_parameters(np.random.default_rng(0))
    number = writer.add_curve(TrialState.COMPLETE, parameters, [0.5, 0.5], best_epoch=1)
    file = writer.path / "trials" / f"{number:05d}" / "history.jsonl"
    scored = {"select": {"score": 0.5}, "final_stage": True}
    records = [
        # Of a stage that the score is not of, the last epoch counts, whatever the best one's number.
        {"stage": "simcse", "epoch": 1, "measures": {"dev": {"plain": 0.1}}},
        {
            "stage": "simcse",
            "epoch": 2,
            "measures": {"dev": {"plain": 0.3}},
            "geometry": {"alignment": 0.25, "uniformity": -2.0},
        },
        {
            **scored,
            "stage": "finetune",
            "epoch": 1,
            "measures": {"dev": {"sst": {"f1": 0.4}, "plain": 0.6}},
            "gradients": {"steps": 2, "conflict_share": 0.5, "cosine": {"sst/qqp": -0.2}},
        },
        {
            **scored,
            "stage": "finetune",
            "epoch": 2,
            "measures": {"dev": {"sst": {"f1": 0.9}, "plain": 0.9}},
            "gradients": {"steps": 2, "conflict_share": 0.0, "cosine": {"sst/qqp": 0.4}},
            "geometry": {"alignment": 0.5, "uniformity": -1.0},
        },
    ]
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    study = load(writer.path)
    rows = {
        (row.stage, row.epoch, row.what): round(row.value, 6) for row in further_measures(study).itertuples()
    }
    assert rows == {
        ("simcse", "2", "plain"): 0.3,
        ("simcse", "2", "alignment"): 0.25,
        ("simcse", "2", "uniformity"): -2.0,
        ("finetune", "1", "sst f1"): 0.4,
        ("finetune", "1", "plain"): 0.6,
        ("finetune", "2", "alignment"): 0.5,
        ("finetune", "2", "uniformity"): -1.0,
        ("finetune", "all", "gradients' conflict_share"): 0.25,
        ("finetune", "all", "gradients' cosine sst/qqp"): 0.1,
    }
    markdown, _ = write_report(study, writer.path)
    assert "| finetune | 1 | sst f1 | 0.400 |" in markdown.read_text(encoding="utf-8")


def test_there_are_none_without_a_complete_trial(new_study: Callable[..., StudyWriter]) -> None:
    assert further_measures(load(new_study().path)).empty
