"""The ablation as a reader sees it."""

from __future__ import annotations

from analysis.ablation_page import show_ablation
from analysis.report import write_report
from analysis.tables import summary_tables
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
