"""The ablation as a reader sees it."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

import analysis.ablation
import analysis.one_factor
from analysis.ablation_page import main, show_ablation
from analysis.report import write_report
from analysis.tables import summary_tables
from minbert.command_line import run
from tests.analysis.test_one_factor import CHANGES, NewStudy, write


def test_a_one_factor_study_is_reported_by_its_ablation_and_not_by_main_effects(new_study: NewStudy) -> None:
    study = write(new_study, {name: [0, 1, 2] for name in CHANGES}, quote="dev")
    sections = show_ablation(study)
    assert [title for title, _, _ in sections] == [
        "Ablation",
        "Ablation: sst",
        "Ablation: qqp",
        "Ablation: sts",
    ]
    title, note, table = sections[0]
    assert "all of dev" in note and "verdict" in table
    assert table.loc[table["level"] == "cosine", ["difference", "p", "verdict"]].iloc[0].tolist() == [
        "–",
        "–",
        "base",
    ]
    assert not any(name.startswith("Main effects") for name in summary_tables(study))
    markdown, page = write_report(study, study.path)
    text = markdown.read_text(encoding="utf-8")
    assert f"## {title}\n" in text and "## Main effects" not in text
    assert "sts.head" in text and "Ablation: qqp" in page.read_text(encoding="utf-8")


def test_an_unfinished_one_factor_study_says_what_was_not_run(new_study: NewStudy) -> None:
    study = write(new_study, {"base": [0], "cross": [0]})
    _, note, table = show_ablation(study)[0]
    verdicts = dict(zip(table["level"], table["verdict"], strict=True))
    assert verdicts["cross"] == "one run: unknown seed noise" and verdicts["concat"] == "not run"
    assert "the report half" in note and "not run = no finished pair of runs" in note


def test_runs_that_do_not_count_are_counted_and_named(new_study: NewStudy) -> None:
    study = write(new_study, {name: [0, 1, 2] for name in CHANGES})
    number = int(study.trials.query("config_id == 'base'")["number"].iloc[1])
    (study.trial_folder(number) / "predictions" / "sst.parquet").unlink()
    _, note, table = show_ablation(study)[0]
    runs = dict(zip(table["level"], table["runs"], strict=True))
    assert (runs["cosine"], runs["cross"]) == ("2", "3 (2 pairs)")
    assert f"1 finished run is left out (trial: reason): {number}: no stored predictions." in note


def test_the_command_prints_the_page_of_either_design(
    new_study: NewStudy, searched: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write(new_study, {name: [0, 1] for name in CHANGES})
    command = [sys.executable, "-m", "analysis.ablation", str(study.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(title in done.stdout for title, *_ in show_ablation(study))
    assert "Every level against the base" in done.stdout
    assert main([str(searched)]) == 0
    shown = capsys.readouterr().out
    assert "Main effects after epoch 3 of 3" in shown and "Observational" in shown


def test_what_has_no_page_is_a_mistake_in_one_line(
    new_study: NewStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = new_study("listed", runs={"cross": {"trained_as": "cross"}}).path
    for path, message in (
        (tmp_path / "nowhere", "no such folder"),
        (new_study("empty").path, "no trial is complete"),
        (listed, "listed runs have no factors to compare"),
    ):
        assert run(partial(main, [str(path)])) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith(f"error: {path}: {message}") and said.err.count("\n") == 1


def test_the_table_is_found_where_the_effects_are() -> None:
    assert analysis.ablation.ablation_table is analysis.one_factor.ablation_table
