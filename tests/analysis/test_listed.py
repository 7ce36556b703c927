"""The runs of a listed study beside what their source reports."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import yaml
from optuna.distributions import CategoricalDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial

from analysis.listed import run_table, show_readings, show_runs
from analysis.report import write_report
from analysis.study import Study, load
from analysis.tables import compute_tables, show_leaders, summary_tables

TASKS = {
    "sst": {"kind": "classification", "classes": 5},
    "qqp": {"kind": "binary"},
    "sts": {"kind": "regression"},
}
RUNS: dict[str, Any] = {
    "one": {"trained_as": "one", "reported": {"sst": 0.5, "qqp": None, "plain": 0.4, "overall": 0.6}},
    "two": {"trained_as": "two"},
    "same": {"trained_as": "two", "same_as": "two", "reported": {"sts": -0.009}},
    "best": {"members": {"sst": "one", "qqp": "same", "sts": "two"}, "reported": {"overall": 0.9}},
    "part": {"members": {"sst": "one"}},
}
SCORES = {  # run -> replicate -> sst, qqp, sts on dev
    "one": [(0.5, 0.6, 0.2), (0.4, 0.8, 0.4)],
    "two": [(0.1, 0.9, 0.8), (0.3, 0.7, 0.6)],
}


def study(
    folder: Path,
    average: str | None,
    constant: dict[str, list[str]] | None = None,
    third: tuple[float, float, float] | None = None,
    **more: Any,
) -> Study:
    """A listed study whose second replicates were run, with a failed trial that counts nowhere.

    ``third``: scores of one more replicate of run "one".
    """
    meta: dict[str, Any] = {
        "schema_version": 1,
        "name": "papers/here",
        "factors": [{"path": "run", "levels": ["one", "two"]}],
        "tasks": TASKS,
        "runs": RUNS,
        **more,
    }
    if average is not None:
        meta["paper"] = {"name": "999", "average": average, "setting": {"encoder": "big"}}
    folder.mkdir(exist_ok=True)
    (folder / "study.yaml").write_text(yaml.safe_dump(meta, sort_keys=False))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        storage = JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    journal = optuna.create_study(storage=storage, study_name="study", direction="maximize")
    for replicate in (0, 1):
        for run, scores in SCORES.items():
            add(folder, journal, run, replicate, scores[replicate], (constant or {}).get(run, []))
    add(folder, journal, "one", 2, (0.0, 0.0, 0.0), ["sst"], TrialState.FAIL)
    if third is not None:
        add(folder, journal, "one", 3, third, [])
    return load(folder)


def add(
    folder: Path,
    journal: optuna.Study,
    run: str,
    replicate: int,
    scores: tuple[float, float, float],
    constant: list[str],
    state: TrialState = TrialState.COMPLETE,
) -> None:
    number = len(journal.get_trials(deepcopy=False))
    dev = dict(zip(TASKS, scores, strict=True))
    lines = [  # the answer of an epoch that does not count may be constant, and so may that of an earlier stage
        {"stage": "first", "epoch": 2, "select": {"score": 0.1}, "constant": ["sts"]},
        {"stage": "last", "epoch": 1, "select": {"score": 0.1}, "final_stage": True, "constant": ["sts"]},
        {"stage": "last", "epoch": 2, "select": {"score": 0.5}, "final_stage": True, "constant": constant},
    ]
    (folder / "trials" / f"{number:05d}").mkdir(parents=True)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "trials" / f"{number:05d}" / "history.jsonl").write_text(text)
    journal.add_trial(
        create_trial(
            state=state,
            params={"run": run},
            distributions={"run": CategoricalDistribution(["one", "two"])},
            value=0.5 if state == TrialState.COMPLETE else None,
            user_attrs={
                "config_id": run,
                "replicate": replicate,
                "best_epoch": 2,
                "metrics": {f"dev/{task}": value for task, value in dev.items()} | {"dev/score": 0.5},
            },
        )
    )


def test_a_run_shows_the_mean_of_its_replicates_and_a_repeated_row_those_of_the_other(tmp_path: Path) -> None:
    table = run_table(study(tmp_path, "plain")).set_index("run")
    assert list(table.index) == list(RUNS)
    assert table.loc["one", "measured/sst"] == pytest.approx(0.45)
    assert table.loc["one", "replicates"] == 2
    plain = [(0.5 + 0.6 + 0.2) / 3, (0.4 + 0.8 + 0.4) / 3]
    assert table.loc["one", "measured/plain"] == pytest.approx(np.mean(plain))
    assert table.loc["one", "measured/plain_sd"] == pytest.approx(np.std(plain, ddof=1))
    for column in ("measured/sst", "measured/qqp", "measured/sts", "measured/plain", "measured/plain_sd"):
        assert table.loc["same", column] == table.loc["two", column]


def test_uneven_replicates_show_their_mean(tmp_path: Path) -> None:
    table = run_table(study(tmp_path, "plain", third=(0.9, 0.1, 0.2))).set_index("run")
    assert table.loc["one", "measured/sst"] == pytest.approx((0.5 + 0.4 + 0.9) / 3)
    assert table.loc["one", "measured/qqp"] == pytest.approx((0.6 + 0.8 + 0.1) / 3)
    plain = [(0.5 + 0.6 + 0.2) / 3, (0.4 + 0.8 + 0.4) / 3, (0.9 + 0.1 + 0.2) / 3]
    assert table.loc["one", "measured/plain"] == pytest.approx(np.mean(plain))
    assert table.loc["one", "measured/plain_sd"] == pytest.approx(np.std(plain, ddof=1))


def test_averages_are_of_the_sources_own_kind_and_never_mixed(tmp_path: Path) -> None:
    plain = run_table(study(tmp_path / "plain", "plain")).set_index("run")
    overall = run_table(study(tmp_path / "overall", "overall")).set_index("run")
    assert not [name for name in plain if "overall" in name]
    assert not [name for name in overall if "plain" in name]
    assert (plain.loc["one", "reported/plain"], overall.loc["one", "reported/overall"]) == (0.4, 0.6)
    assert np.isnan(plain.loc["best", "reported/plain"])
    assert overall.loc["one", "measured/overall"] == pytest.approx((0.45 + 0.7 + (0.3 + 1) / 2) / 3)
    assert "measured/overall" in run_table(study(tmp_path / "none", None))


def test_a_composite_row_takes_each_task_from_its_run_replicate_by_replicate(tmp_path: Path) -> None:
    table = run_table(study(tmp_path, "plain")).set_index("run")
    replicates = [(0.5 + 0.9 + 0.8) / 3, (0.4 + 0.7 + 0.6) / 3]
    assert table.loc["best", "measured/plain"] == pytest.approx(np.mean(replicates))
    assert table.loc["best", "measured/plain_sd"] == pytest.approx(np.std(replicates, ddof=1))
    assert table.loc["best", "measured/sts"] == pytest.approx(0.7)
    assert np.isnan(table.loc["part", "measured/plain"])
    assert table.loc["part", "measured/sst"] == pytest.approx(0.45)


def test_a_constant_answer_is_flagged_where_it_counts(tmp_path: Path) -> None:
    table = run_table(study(tmp_path, "plain", {"two": ["qqp", "sst"]})).set_index("run")
    assert table["constant"].to_dict() == {
        "one": [],
        "two": ["sst", "qqp"],
        "same": ["sst", "qqp"],
        "best": ["qqp"],
        "part": [],
    }


def test_the_shown_table_has_a_dash_where_nothing_is_known(tmp_path: Path) -> None:
    title, shown = show_runs(study(tmp_path, "plain", {"two": ["qqp"]}))
    rows = shown.set_index("run")
    assert "paper 999" in title
    assert "plain" in title
    assert rows.loc["one", "reported qqp"] == "–"
    assert rows.loc["same", "reported sts"] == "-0.009"
    assert rows.loc["part", "measured plain"] == "–"
    assert rows.loc["two", "measured plain"] == "0.567 ± 0.047"
    assert rows.loc["two", "constant?"] == "qqp"


def test_a_listed_study_shows_its_runs_first_and_no_effects_of_the_run(tmp_path: Path) -> None:
    listed = study(tmp_path, "plain")
    titles = list(summary_tables(listed))
    assert titles[0].startswith("Runs, as paper 999 reports them")
    assert not any(title.startswith("Main effects") for title in titles)
    markdown, _ = write_report(listed, tmp_path)
    text = markdown.read_text(encoding="utf-8")
    assert "## Runs, as paper 999" in text and "## Main effects" not in text
    assert f"with {len(RUNS)} listed runs over the tasks" in text
    assert "How the runs were read" not in text


def test_the_report_of_a_papers_runs_says_first_that_this_is_not_its_setting(tmp_path: Path) -> None:
    listed = study(tmp_path, "plain", space={"fidelity": 0.02}, encoder={"path": "/models/small"})
    markdown, page = write_report(listed, tmp_path)
    text = markdown.read_text(encoding="utf-8")
    said = "Not the paper's setting: the encoder \"models/small\" instead of big; fidelity 0.02. The paper's numbers cannot be"
    assert said in text.split("## ", maxsplit=1)[0]
    assert 'class="warning">Not the paper' in page.read_text(encoding="utf-8")
    assert "## Runs, as paper 999 reports them and as measured here, not in the paper's setting (" in text
    same = study(tmp_path / "same", "plain", encoder={"path": "/models/big"})
    text = write_report(same, tmp_path / "same")[0].read_text(encoding="utf-8")
    assert (
        "> **Data not checked: the paper gives no sizes of sst train, sst dev, qqp train, qqp dev, sts train, sts dev; the study does not count"
        in text
    )
    assert "as measured here (full dev" in text and "paper's setting" not in text


def test_the_report_has_the_verdict_of_every_claim_and_the_command_for_the_rest(tmp_path: Path) -> None:
    wanted = {"a": ["one"], "b": ["two"], "metric": "sst", "direction": "up"}
    claims = {
        "1.1": {"says": "one is better", "section": "4", "contrasts": [wanted, wanted]},
        "1.2": {"says": "it is nice", "section": "5", "not_measured": "no run"},
    }
    listed = study(tmp_path / "my study", "plain", claims=claims, space={"fidelity": 0.5})
    text = write_report(listed, tmp_path)[0].read_text(encoding="utf-8")
    section = text.split("## Claims of the source\n")[1].split("\n## ")[0]
    assert "| 1.1 | undecided, not the paper's setting | one is better |" in section
    assert "| 1.2 | not measured | it is nice |" in section
    assert f"python -m analysis.claims '{tmp_path / 'my study'}'" in section
    assert (
        "Claims of the source" not in write_report(study(tmp_path / "none", "plain"), tmp_path)[0].read_text()
    )


def test_the_report_tells_how_runs_were_read(tmp_path: Path) -> None:
    listed = study(tmp_path, "plain")
    listed.meta["runs"]["one"] |= {
        "interpretation": ["the encoder is frozen"],
        "note": ["text and table differ"],
        "reported": {"sst": 0.5, "test": {"sst": 0.25}},
    }
    assert show_readings(listed).to_numpy().tolist() == [
        ["one", "reported on test", "sst 0.250"],
        ["one", "interpretation", "the encoder is frozen"],
        ["one", "note", "text and table differ"],
    ]
    markdown, _ = write_report(listed, tmp_path)
    assert "| one | note | text and table differ |" in markdown.read_text(encoding="utf-8")


def test_top_configurations_name_the_tasks_that_one_of_their_runs_answered_alike(tmp_path: Path) -> None:
    told = study(tmp_path / "told", "plain", constant={"two": ["qqp", "sts"]})
    shown = show_leaders(compute_tables(told).leaders, told).set_index("trial")
    assert dict(shown["constant?"]) == {"0, 2": "", "1, 3": "qqp, sts"}
    none = study(tmp_path / "none", "plain")
    assert "constant?" not in show_leaders(compute_tables(none).leaders, none)
