from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from optuna.trial import TrialState

from analysis.ensemble import choose, main
from analysis.study import load
from analysis.submission import blend, submission_text, with_test_rows
from minbert.errors import UserError
from tests.analysis.conftest import StudyWriter, sample_parameters

FILES = [f"{task}-{split}-output.csv" for task in ("para", "sst", "sts") for split in ("dev", "test")]


@pytest.fixture
def small(new_study: Callable[..., StudyWriter]) -> StudyWriter:
    writer = new_study()
    random = np.random.default_rng(1)
    for _ in range(4):
        writer.add(TrialState.COMPLETE, sample_parameters(random))
    return writer


def stored(writer: StudyWriter, number: int, task: str) -> pd.DataFrame:
    return pd.read_parquet(writer.path / "trials" / f"{number:05d}" / "predictions" / f"{task}.parquet")


def store(writer: StudyWriter, number: int, task: str, frame: pd.DataFrame) -> None:
    frame.to_parquet(writer.path / "trials" / f"{number:05d}" / "predictions" / f"{task}.parquet")


def drop_test(writer: StudyWriter, number: int, task: str) -> None:
    frame = stored(writer, number, task)
    store(writer, number, task, frame[frame["split"] == "dev"])


def test_files_are_written_as_the_course_wants_them() -> None:
    probabilities = np.array([[0.1, 0.2, 0.3, 0.3, 0.1], [0.0, 0.0, 0.1, 0.1, 0.8]])
    text = submission_text("sst", "classification", ["a", "b"], probabilities)
    assert text == "id \t Predicted_Sentiment \na , 2 \nb , 4 \n"
    text = submission_text("qqp", "binary", ["a", "b"], np.array([[0.2], [0.9]]))
    assert text == "id \t Predicted_Is_Paraphrase \na , 0 \nb , 1 \n"
    text = submission_text("sts", "regression", ["a", "b"], np.array([[3.25], [1e-9]]))
    assert text == "id \t Predicted_Similiary \na , 3.250000 \nb , 0.000000 \n"


def test_the_blend_is_the_weighted_mean_in_the_files_order() -> None:
    rows = [(7, "test", "b", 1.0), (7, "test", "a", 2.0), (7, "test", "b", 3.0), (7, "dev", "x", 0.0)]
    rows += [(9, "test", "b", 5.0), (9, "test", "a", 6.0), (9, "test", "b", 7.0)]
    frame = pd.DataFrame(rows, columns=["number", "split", "id", "output_0"])
    ids, values = blend(frame, {7: 0.75, 9: 0.25}, "test")
    assert ids == ["b", "a", "b"]
    assert values[:, 0].tolist() == [2.0, 3.0, 4.0]


def test_members_that_predicted_other_examples_are_refused() -> None:
    rows = [(7, "test", "a", 1.0), (9, "test", "b", 1.0)]
    frame = pd.DataFrame(rows, columns=["number", "split", "id", "output_0"])
    with pytest.raises(UserError, match="trial 9 did not predict the same test examples as trial 7"):
        blend(frame, {7: 0.5, 9: 0.5}, "test")
    with pytest.raises(UserError, match="trial 3"):
        blend(frame, {7: 0.5, 3: 0.5}, "test")


def test_trials_without_test_predictions_are_left_out_where_others_have_them() -> None:
    rows = [(7, "dev"), (7, "test"), (9, "dev")]
    frame = pd.DataFrame(rows, columns=["number", "split"])
    kept, left_out = with_test_rows(frame)
    assert kept["number"].tolist() == [7, 7]
    assert left_out == [9]
    untested = frame[frame["split"] == "dev"]
    assert with_test_rows(untested)[0] is untested
    assert with_test_rows(untested)[1] == []


def test_the_command_writes_members_table_and_every_submission_file(
    small: StudyWriter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "ensemble"
    assert main([str(small.path), "--out", str(out), "--method", "bagged"]) == 0
    assert sorted(path.name for path in (out / "predictions").iterdir()) == FILES
    written = yaml.safe_load((out / "members.yaml").read_text())
    study = load(small.path)
    chosen = choose({task: study.predictions(task) for task in study.tasks}, study.tasks, "bagged")
    assert written["method"] == "bagged"
    for task, members in written["members"].items():
        assert {one["trial"]: one["weight"] for one in members} == pytest.approx(chosen[task].members)
        assert all(Path(written["study"], one["folder"]).is_dir() for one in members)
    table = pd.read_csv(out / "methods.csv")
    assert len(table) == 5 * 4
    own = table[(table["method"] == "bagged") & (table["task"] == "sts")]
    assert own["report"].item() == pytest.approx(chosen["sts"].report)
    printed = capsys.readouterr().out
    assert "Ensembles, chosen on select, quoted on report" in printed
    assert "members.yaml" in printed


def test_submitted_dev_predictions_score_what_the_table_says(small: StudyWriter, tmp_path: Path) -> None:
    main([str(small.path), "--out", str(tmp_path / "out")])
    table = pd.read_csv(tmp_path / "out" / "methods.csv").set_index(["method", "task"])
    report = np.arange(small.examples) % 2 == 1
    for task, name in (("sst", "sst"), ("qqp", "para"), ("sts", "sts")):
        lines = (tmp_path / "out" / "predictions" / f"{name}-dev-output.csv").read_text().splitlines()[1:]
        ids, cells = zip(*(line.strip().split(" , ") for line in lines), strict=True)
        assert list(ids) == [f"{task}{place}" for place in range(small.examples)]
        predicted, labels = np.array(cells, float)[report], small.labels[task][report]
        found = np.corrcoef(predicted, labels)[0, 1] if task == "sts" else np.mean(predicted == labels)
        assert found == pytest.approx(table.loc[("greedy", task), "report"], abs=1e-6)


def test_a_task_without_a_test_split_has_no_test_file(small: StudyWriter, tmp_path: Path) -> None:
    for number in range(4):
        drop_test(small, number, "qqp")
    main([str(small.path), "--out", str(tmp_path / "out")])
    names = sorted(path.name for path in (tmp_path / "out" / "predictions").iterdir())
    assert names == [name for name in FILES if name != "para-test-output.csv"]


def test_a_trial_that_cannot_be_handed_in_is_left_out_before_choosing(
    small: StudyWriter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = int(load(small.path).trials["select/sst"].idxmax())
    drop_test(small, best, "sst")
    main([str(small.path), "--out", str(tmp_path / "out"), "--method", "best"])
    members = yaml.safe_load((tmp_path / "out" / "members.yaml").read_text())["members"]
    assert members["sst"][0]["trial"] != best
    assert f"sst: left out, as they have no test predictions: {best}\n" in capsys.readouterr().out


def refused(*arguments: str) -> str:
    """The one line on stderr of a command that ends with exit code 2."""
    command = [sys.executable, "-m", "analysis.ensemble", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_a_mistake_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    assert "no such folder" in refused(str(tmp_path / "none"), "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_an_unknown_method_is_refused(small: StudyWriter, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'greedi'"):
        main([str(small.path), "--out", str(tmp_path / "out"), "--method", "greedi"])


def test_a_folder_that_holds_something_is_left_as_it_is(small: StudyWriter, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("x")
    with pytest.raises(UserError, match="there is something already"):
        main([str(small.path), "--out", str(out)])
    with pytest.raises(UserError, match="there is something already"):
        main([str(small.path), "--out", str(out / "mine")])
    assert [path.name for path in out.iterdir()] == ["mine"]


def test_an_empty_folder_is_filled(small: StudyWriter, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    main([str(small.path), "--out", str(tmp_path / "out")])
    assert (tmp_path / "out" / "members.yaml").is_file()


def test_nothing_is_written_when_members_disagree_about_the_examples(
    small: StudyWriter, tmp_path: Path
) -> None:
    for number in range(4):
        frame = stored(small, number, "sts")
        frame.loc[frame["split"] == "test", "id"] += str(number)
        store(small, number, "sts", frame)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match="did not predict the same test examples"):
        main([str(small.path), "--out", str(tmp_path / "out"), "--method", "top"])
    assert sorted(tmp_path.iterdir()) == before


def test_a_study_with_nothing_to_choose_from_is_refused(
    new_study: Callable[..., StudyWriter], tmp_path: Path
) -> None:
    empty = new_study("empty")
    with pytest.raises(UserError, match="no trial is complete"):
        main([str(empty.path), "--out", str(tmp_path / "out")])
    bare = new_study("bare")
    parameters = sample_parameters(np.random.default_rng(1))
    bare.add_curve(TrialState.COMPLETE, parameters, [0.5])
    with pytest.raises(UserError, match="no complete trial has stored predictions"):
        main([str(bare.path), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_a_fourth_task_goes_by_its_own_name() -> None:
    assert submission_text("nli", "binary", ["a"], np.array([[1.0]])) == "id \t Predicted_nli \na , 1 \n"
