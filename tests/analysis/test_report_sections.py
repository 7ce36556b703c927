"""What a report says besides its tables of effects."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from optuna.trial import TrialState

from analysis.sections import Section, report_sections
from analysis.sections.designs import pair_changes
from analysis.study import Study, load
from analysis.tables import compute_tables
from minbert.config import TrainConfig
from minbert.corpora.reader import read_corpus
from tests.analysis.conftest import StudyWriter, sample_parameters
from tests.analysis.test_errors import EXAMPLES, KINDS, searched_study, write_data
from tests.analysis.test_listed import study as listed_study
from tests.analysis.test_one_factor import CHANGES, write

NewStudy = Callable[..., StudyWriter]


def sections_of(study: Study) -> dict[str, Section]:
    return {section.title: section for section in report_sections(study, compute_tables(study))}


def names(section: Section) -> list[str]:
    return [picture.name for picture in section.pictures]


def add_trials(writer: StudyWriter, count: int) -> None:
    random = np.random.default_rng(1)
    for _ in range(count):
        writer.add(TrialState.COMPLETE, sample_parameters(random))


def test_classes_in_no_order_have_a_picture_of_mistakes_instead_of_a_row_of_errors(
    new_study: NewStudy, tmp_path: Path
) -> None:
    study = load(searched_study(new_study, tmp_path, labels=KINDS, ordered=False).path)
    number = int(study.trials["score"].idxmax())
    errors = sections_of(study)[f"Errors of trial {number}"]
    assert errors.table is not None and set(errors.table["task"]) == {"qqp", "sts"}
    assert names(errors) == ["confusion_sst", "error_by_length", "mistakes_by_length"]


def test_errors_against_texts_are_told_where_the_data_still_are(new_study: NewStudy, tmp_path: Path) -> None:
    write_data(tmp_path / "data", new_study("labels", examples=EXAMPLES).labels)
    config = TrainConfig()
    fingerprint = read_corpus(tmp_path / "data", config.tasks).fingerprint
    data = {"path": str(tmp_path / "data"), "fingerprint": fingerprint}
    gone = {"path": str(tmp_path / "encoder"), "fingerprint": "f"}
    writer = new_study(examples=EXAMPLES, data=data, encoder=gone)
    add_trials(writer, 1)
    file = writer.path / "trials" / "00000" / "config.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_none=True)))
    errors = sections_of(load(writer.path))["Errors of trial 0"]
    assert errors.table is not None
    assert errors.table[["task", "error against"]].to_numpy().tolist() == [
        ["sst", "characters"],
        ["qqp", "characters"],
        ["qqp", "word overlap"],
        ["sts", "characters"],
        ["sts", "word overlap"],
    ]
    assert names(errors) == ["confusion_sst", "error_by_length"]
    outputs = writer.path / "trials" / "00000" / "predictions" / "sst.parquet"
    whole = outputs.read_bytes()
    outputs.write_bytes(b"PAR1")
    without = sections_of(load(writer.path))["Errors of trial 0"]
    assert without.table is not None and set(without.table["task"]) == {"qqp", "sts"}
    assert names(without) == ["error_by_length"]
    assert "rho: Spearman's" in without.note
    assert f"sst is left out: {outputs}: cannot be read as Parquet (ArrowInvalid)." in without.note
    outputs.write_bytes(whole)
    (tmp_path / "data" / "sts-dev.csv").unlink()
    gone = sections_of(load(writer.path))["Errors of trial 0"]
    assert gone.table is None and names(gone) == ["confusion_sst"]
    assert "Nothing can be said about texts" in gone.note and "rho" not in gone.note
    outputs.write_bytes(b"PAR1")
    neither = sections_of(load(writer.path))["Errors of trial 0"]
    assert (neither.table, neither.pictures) == (None, [])
    assert "Nothing can be said about texts" in neither.note


def test_what_every_stage_did_to_every_task_stands_with_the_training(new_study: NewStudy) -> None:
    writer = new_study()
    writer.add_curve(TrialState.COMPLETE, sample_parameters(np.random.default_rng(1)), [0.56])
    dev = {"sst": 0.5, "qqp": 0.6, "sts": 0.1, "score": 0.55}
    later = {"sst": 0.4, "qqp": 0.75, "sts": 0.1, "score": 0.56}
    records: list[dict[str, Any]] = [
        {"stage": "first", "epoch": 1, "train_loss": {"sst": 1.0}, "dev": dev},
        {"stage": "second", "epoch": 1, "train_loss": {"qqp": 0.6}, "dev": later, "select": later},
    ]
    records[1]["final_stage"] = True
    history = writer.path / "trials" / "00000" / "history.jsonl"
    history.write_text("".join(json.dumps(record) + "\n" for record in records))
    training = sections_of(load(writer.path))["Training"]
    assert training.table is not None
    assert training.table.to_numpy().tolist() == [
        ["first", "0.500 *", "0.600", "0.100"],
        ["second", "0.400 (-10.0)", "0.750 (+15.0) *", "0.100 (+0.0)"],
    ]
    assert "tasks_over_training" in names(training)


def test_trials_with_one_answer_for_everything_are_named(tmp_path: Path) -> None:
    study = listed_study(tmp_path, "plain", {"two": ["qqp"]})
    table = sections_of(study)["One answer for everything"].table
    assert table is not None
    told = table[["task", "at the end"]].drop_duplicates().to_numpy().tolist()
    assert told == [["qqp", "yes"], ["sst", "yes"], ["sts", "no"]]  # and of those that failed


def test_a_listed_study_is_drawn_by_run_and_has_no_search_to_look_at(tmp_path: Path) -> None:
    sections = sections_of(listed_study(tmp_path, "plain"))
    first = next(iter(sections.values()))
    assert first.title.startswith("Runs") and names(first) == ["runs"]
    assert {"Importance", "Interactions", "Ablation"}.isdisjoint(sections)
    assert not any(title.startswith("Main effects") for title in sections)


def test_an_ablation_has_intervals_for_the_score_and_single_pairs_for_every_task(new_study: NewStudy) -> None:
    sections = sections_of(write(new_study, {name: [0, 1] for name in CHANGES}))
    assert names(sections["Ablation"]) == ["ablation"]
    for title in ("Ablation", "Ablation: sst"):
        table = sections[title].table
        assert table is not None and list(table)[:4] == ["factor", "level", "verdict", "difference"]
    assert [names(sections[f"Ablation: {task}"]) for task in ("sst", "qqp", "sts")] == [
        ["paired_sst"],
        ["paired_qqp"],
        ["paired_sts"],
    ]


@pytest.mark.parametrize("half", ["report", "dev"])
def test_single_pairs_are_drawn_on_the_examples_that_the_study_quotes(new_study: NewStudy, half: str) -> None:
    study = write(new_study, {"base": [0, 1], "cross": [1, 0]}, quote=half)
    pairs = pair_changes(study, "sst")
    assert pairs[["level", "replicate"]].to_numpy().tolist() == [["cross", 0], ["cross", 1]]
    scores = study.trials.set_index(["config_id", "replicate"])[f"{half}/sst"]
    expected = [scores["cross", replicate] - scores["base", replicate] for replicate in (0, 1)]
    assert pairs["difference"].tolist() == pytest.approx(expected)
    other = study.trials.set_index("config_id")["dev/sst" if half == "report" else "report/sst"]
    assert pairs["difference"].iloc[0] != pytest.approx(other["cross"].iloc[0] - other["base"].iloc[0])


@pytest.mark.parametrize("complete", [0, 1])
def test_pictures_that_would_be_empty_are_left_out(new_study: NewStudy, complete: int) -> None:
    writer = new_study()
    add_trials(writer, complete)
    writer.add(TrialState.FAIL, sample_parameters(np.random.default_rng(0)), cause="oom")
    drawn = [name for section in sections_of(load(writer.path)).values() for name in names(section)]
    assert {"pareto", "hypervolume", "ensemble_growth", "interaction_1"}.isdisjoint(drawn)
    assert ("learning_curves" in drawn) == bool(complete)
    assert "timeline" in drawn
