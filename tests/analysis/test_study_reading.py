from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from optuna.trial import TrialState

from analysis import report
from analysis.study import load
from minbert.errors import UserError

HEAD = "tasks.sts.head.kind"
PLAIN = {HEAD: "cross", "stages.finetune.sampler.kind": "sequential"}


def test_trials_hold_every_state_and_leave_out_abandoned_ones(searched: Path) -> None:
    trials = load(searched).trials
    assert trials["state"].value_counts().to_dict() == {
        "complete": 30,
        "pruned": 1,
        "failed": 1,
        "running": 1,
    }
    assert list(trials["number"]) == list(range(33))
    assert trials.set_index("number").loc[31, "cause"] == "nan"
    assert trials["number"].dtype == np.int64


def test_factor_columns_are_typed_and_empty_where_a_factor_was_not_active(searched: Path) -> None:
    study = load(searched)
    assert [factor.path for factor in study.factors if factor.levels is None] == [
        "stages.finetune.dropout",
        "stages.finetune.learning_rate",
    ]
    trials = study.trials
    assert trials["stages.finetune.learning_rate"].dtype == np.float64
    concurrent = trials["stages.finetune.sampler.kind"] == "concurrent"
    assert set(trials.loc[concurrent, "stages.finetune.pcgrad"]) == {True, False}
    assert trials.loc[~concurrent, "stages.finetune.pcgrad"].isna().all()


def test_scores_and_metrics_come_from_the_best_epoch(searched: Path) -> None:
    complete = load(searched).trials.query("state == 'complete'")
    pd.testing.assert_series_equal(complete["score"], complete["select/score"], check_names=False)
    for half in ("select", "report", "dev"):
        parts = complete[f"{half}/sst"] + complete[f"{half}/qqp"] + (complete[f"{half}/sts"] + 1) / 2
        np.testing.assert_allclose(complete[f"{half}/score"], parts / 3)


def test_a_pruned_trial_keeps_its_best_score_not_its_last(new_study: Callable[..., Any]) -> None:
    writer = new_study()
    writer.add(TrialState.PRUNED, PLAIN)
    trial = load(writer.path).trials.iloc[0]
    assert trial["state"] == "pruned"
    assert trial["score"] == pytest.approx(trial["select/score"])


@pytest.mark.parametrize(("state", "best"), [(TrialState.RUNNING, 0.6), (TrialState.PRUNED, 0.6)])
def test_a_trial_that_did_not_end_has_the_best_score_so_far(
    new_study: Callable[..., Any], state: TrialState, best: float
) -> None:
    writer = new_study()
    writer.add_curve(state, PLAIN, [0.5, 0.6, 0.4], metrics={})
    assert load(writer.path).trials["score"].tolist() == [best]


def test_history_is_flat_tolerates_a_torn_line_and_counts_an_epoch_once(searched: Path) -> None:
    history = load(searched).history
    assert {"number", "stage", "epoch", "train_loss/sst", "train_loss/simcse", "select/score"} <= set(history)
    running = history[history["number"] == 32]
    assert list(running["stage"]) == ["simcse", "finetune"]
    assert not history.duplicated(["number", "stage", "epoch"]).any()


def test_an_epoch_that_was_trained_again_replaces_the_first_writing(new_study: Callable[..., Any]) -> None:
    writer = new_study()
    number = writer.add(TrialState.COMPLETE, PLAIN)
    with (writer.path / "trials" / f"{number:05d}" / "history.jsonl").open("a") as file:
        file.write('{"stage": "finetune", "epoch": 3, "train_loss": {"sst": 9.0}}\n')
    history = load(writer.path).history
    again = history[(history["stage"] == "finetune") & (history["epoch"] == 3)]
    assert list(again["train_loss/sst"]) == [9.0]


def test_predictions_name_their_trial_and_match_the_reported_metric(searched: Path) -> None:
    study = load(searched)
    predictions = study.predictions("qqp", [0, 4])
    assert list(predictions["number"].unique()) == [0, 4]
    rows = predictions[(predictions["number"] == 4) & (predictions["half"] == "report")]
    accuracy = ((rows["output_0"] >= 0.5) == rows["label"]).mean()
    assert accuracy == pytest.approx(study.trials["report/qqp"].iloc[4])
    assert predictions.loc[predictions["split"] == "test", "label"].isna().all()
    assert study.predictions("qqp")["number"].nunique() == 30


def test_predictions_of_an_unknown_task_are_refused(new_study: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match="no task 'mnli'; the tasks are sst, qqp, sts"):
        load(new_study().path).predictions("mnli")


def test_a_damaged_prediction_file_counts_as_not_stored_and_is_named(new_study: Callable[..., Any]) -> None:
    writer = new_study()
    torn, whole = (writer.add(TrialState.COMPLETE, PLAIN) for _ in range(2))
    file = writer.path / "trials" / f"{torn:05d}" / "predictions" / "sst.parquet"
    file.write_bytes(file.read_bytes()[:100])
    study = load(writer.path)
    assert study.damage == []
    assert set(study.predictions("sst")["number"]) == {whole}
    assert study.damage == [f"{file}: cannot be read as Parquet (ArrowInvalid); left out"]
    pd.DataFrame({"id": ["a"]}).to_parquet(file)
    again = load(writer.path)
    assert set(again.predictions("sst")["number"]) == {whole}
    assert "lacks the column(s) half, label, output_0, split; left out" in again.damage[0]


def test_a_report_of_a_study_with_a_damaged_file_is_written_and_says_so(
    new_study: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = new_study()
    numbers = [writer.add(TrialState.COMPLETE, PLAIN) for _ in range(3)]
    file = writer.path / "trials" / f"{numbers[1]:05d}" / "predictions" / "sst.parquet"
    file.write_bytes(file.read_bytes()[:100])
    assert report.main([str(writer.path), "--out", str(tmp_path / "out")]) == 0
    assert f"warning: {file}: cannot be read as Parquet" in capsys.readouterr().err
    for name in ("report.md", "report.html"):
        assert f"{file}: cannot be read as Parquet" in (tmp_path / "out" / name).read_text()


def test_reading_changes_nothing_and_needs_no_write_access(searched: Path) -> None:
    def state() -> dict[str, tuple[float, int]]:
        files = (file for file in searched.rglob("*") if file.is_file())
        return {str(file): (file.stat().st_mtime, file.stat().st_size) for file in files}

    before = state()
    lock = Path(f"{searched}/journal.log.lock")
    os.symlink(searched / "journal.log", lock)  # as a driver that is writing right now
    try:
        study = load(searched)
        assert len(study.trials) == 33
        assert len(study.history) > 0
    finally:
        lock.unlink()
    assert state() == before


def test_a_study_without_a_journal_has_no_trials_and_gets_none(new_study: Callable[..., Any]) -> None:
    writer = new_study()
    (writer.path / "journal.log").unlink()
    study = load(writer.path)
    assert study.trials.empty
    assert study.history.empty
    assert study.predictions("sst").empty
    assert {"score", "report/score", HEAD} <= set(study.trials)
    assert not (writer.path / "journal.log").exists()


def test_a_damaged_journal_line_is_named(new_study: Callable[..., Any]) -> None:
    writer = new_study()
    journal = writer.path / "journal.log"
    journal.write_text("nonsense\n" + journal.read_text())
    with pytest.raises(UserError, match=r"journal\.log:1: damaged"):
        _ = load(writer.path).trials


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "damaged at line 1"),
        ("- 1", "expected a mapping"),
        ("schema_version: 99\nname: later", "schema_version 99 is newer than this program reads"),
        ("schema_version: 1\nname: x\nfactors: []\ntasks: {sst: {kind: guess}}", "damaged at tasks.sst.kind"),
        ("schema_version: 1\nname: x\nfactors: []", "damaged at tasks"),
    ],
)
def test_a_damaged_study_yaml_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "study.yaml").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="not a study folder"):
        load(tmp_path)
