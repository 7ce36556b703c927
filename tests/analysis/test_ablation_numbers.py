"""The ablation table's numbers, recomputed by hand where levels have unequal pairs and one was not run."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from optuna.trial import TrialState
from scipy import stats

from analysis.ablation_page import show_ablation
from analysis.one_factor import DELTA, ablation_table, compare_levels
from analysis.quoted import Quoted
from analysis.study import Study, load
from tests.analysis.conftest import StudyWriter
from tests.analysis.test_one_factor import BASE, CHANGES, META, NewStudy, row, write

SCORES = {
    "a": {0: 0.70, 1: 0.72, 2: 0.71, 3: 0.69},
    "b": {0: 0.76, 1: 0.79, 2: 0.765, 4: 0.2},
    "c": {0: 0.705, 1: 0.721, 2: 0.713, 3: 0.695},
}
"""By level and replicate; level d was planned and not run. Seeds alone matter: every example adds the same."""
PLANNED = 3


@pytest.fixture
def table() -> pd.DataFrame:
    levels = pd.DataFrame({"factor": "f", "level": list("abcd"), "base": [True, False, False, False]})
    levels["config_id"] = levels["level"]
    runs = [(name, replicate, value) for name, own in SCORES.items() for replicate, value in own.items()]
    frame = pd.DataFrame(runs, columns=["config_id", "replicate", "value"]).assign(cost_alone=1.0)
    frame["number"] = range(len(frame))
    pulls = {"qqp": {number: np.full(10, value) for number, value in enumerate(frame["value"])}}
    return compare_levels(levels, frame, Quoted(pulls), {"qqp": "binary"})


def paired(level: str) -> np.ndarray:
    common = sorted(SCORES[level].keys() & SCORES["a"].keys())
    return np.array([SCORES[level][one] - SCORES["a"][one] for one in common])


def test_holms_correction_counts_the_levels_that_were_planned(table: pd.DataFrame) -> None:
    p = {level: stats.ttest_1samp(paired(level), 0).pvalue for level in "bc"}
    smaller, larger = sorted(p, key=lambda level: p[level])
    assert row(table, smaller)["p_holm"] == pytest.approx(PLANNED * p[smaller])
    assert row(table, larger)["p_holm"] == pytest.approx(max(PLANNED * p[smaller], 2 * p[larger]))
    assert row(table, "d")["verdict"] == "not run"


@pytest.mark.parametrize("level", ["b", "c"])
def test_what_could_be_seen_is_at_the_level_corrected_for_all_planned_levels(
    table: pd.DataFrame, level: str
) -> None:
    differences = paired(level)
    df, error = len(differences) - 1, stats.sem(differences)
    reached = stats.nct.sf(stats.t.isf(0.025 / PLANNED, df), df, row(table, level)["visible"] / error)
    assert reached == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("level", ["b", "c"])
def test_equivalence_is_tested_against_one_delta(table: pd.DataFrame, level: str) -> None:
    differences = paired(level)
    df, error = len(differences) - 1, stats.sem(differences)
    expected = stats.t.sf((DELTA - abs(differences.mean())) / error, df)
    assert row(table, level)["p_equivalent"] == pytest.approx(expected)


def test_a_studys_own_difference_is_as_likely_beyond_itself_as_within(new_study: NewStudy) -> None:
    study = write(new_study, {name: [0, 1, 2] for name in CHANGES})
    size = abs(row(ablation_table(study), "concurrent")["difference"])
    assert row(ablation_table(study, delta=size), "concurrent")["p_equivalent"] == pytest.approx(0.5)
    pd.testing.assert_frame_equal(ablation_table(study), ablation_table(study, delta=0.01))


def costly(new_study: Callable[..., StudyWriter], runs: list[tuple[str, int, float]]) -> Study:
    """A study of these levels, replicates and seconds."""
    writer = new_study(**META)
    for name, replicate, seconds in runs:
        settings = BASE | CHANGES[name]
        writer.add(TrialState.COMPLETE, settings, config_id=name, replicate=replicate, cost_alone=seconds)
    return load(writer.path)


UNEQUAL = [
    *(("base", 0, 10.0), ("base", 1, 10.0), ("base", 2, 40.0), ("base", 3, 9000.0)),
    *(("cross", 0, 20.0), ("cross", 2, 90.0), ("cross", 3, 22500.0), ("cross", 4, 0.001)),
    *(("concat", 0, 7.0), ("concat", 1, 37.0), ("concat", 2, 40.0)),
]


def test_costs_are_the_geometric_mean_of_the_pairs_ratios_and_their_range(new_study: NewStudy) -> None:
    table = ablation_table(costly(new_study, UNEQUAL))
    cross = row(table, "cross")
    assert cross["relative_cost"] == pytest.approx((2.0 * 2.5 * 2.25) ** (1 / 3))
    assert (cross["relative_cost_low"], cross["relative_cost_high"]) == pytest.approx((2.0, 2.5))
    assert row(table, "cosine")["relative_cost"] == pytest.approx(1)
    assert np.isnan(row(table, "concurrent")["relative_cost"])


def test_a_cost_on_which_the_pairs_disagree_is_not_said_to_be_known(new_study: NewStudy) -> None:
    _, note, table = show_ablation(costly(new_study, UNEQUAL))[0]
    costs = dict(zip(table["level"], table["cost"], strict=True))
    assert costs["cross"] == "2.24×"
    assert costs["concat"] == "noisy, 0.70 to 3.70×"
    assert costs["concurrent"] == "–"
    assert "one is more than 1.5 times another" in note


def steps(study: Study, number: int, by_stage: dict[str, list[int]]) -> None:
    records = [
        {"stage": stage, "epoch": epoch, "step": step}
        for stage, own in by_stage.items()
        for epoch, step in enumerate(own, 1)
    ]
    text = "".join(json.dumps(record) + "\n" for record in records)
    (study.trial_folder(number) / "history.jsonl").write_text(text)


def test_steps_of_all_stages_are_against_the_bases(new_study: NewStudy) -> None:
    written = write(new_study, {name: [0, 1] for name in ("base", "cross", "concurrent")})
    for number, name in zip(written.trials["number"], written.trials["config_id"], strict=True):
        finetune = {"base": [30, 60], "cross": [30, 60], "concurrent": [10, 20]}[name]
        steps(written, number, {"simcse": [5, 20], "finetune": finetune})
    study = load(written.path)
    table = ablation_table(study)
    assert row(table, "cross")["relative_steps"] == pytest.approx(1)
    assert row(table, "concurrent")["relative_steps"] == pytest.approx(40 / 80)
    assert np.isnan(row(table, "concat")["relative_steps"])
    _, note, shown = show_ablation(study)[0]
    assert dict(zip(shown["level"], shown["steps"], strict=True))["concurrent"] == "0.50×"
    assert "where they differ, that is part of the level's effect" in note


def test_where_no_level_takes_other_steps_nothing_is_said_of_their_effect(new_study: NewStudy) -> None:
    written = write(new_study, {name: [0, 1] for name in ("base", "cross")})
    for number in written.trials["number"]:
        steps(written, number, {"finetune": [30, 60]})
    _, note, shown = show_ablation(load(written.path))[0]
    assert "1.00×" in set(shown["steps"])
    assert "Steps: the optimiser's, against the base's. Cost" in note


def test_of_a_damaged_history_the_steps_are_unknown(new_study: NewStudy) -> None:
    written = write(new_study, {name: [0, 1] for name in ("base", "cross", "concurrent")})
    for number, name in zip(written.trials["number"], written.trials["config_id"], strict=True):
        steps(written, number, {"finetune": [20, 40] if name == "concurrent" else [30, 60]})
    for name, count in (("cross", 2), ("concurrent", 1)):
        for number in written.trials.loc[written.trials["config_id"] == name, "number"].head(count):
            file = written.history_file(number)
            file.write_text(
                file.read_text().replace('"step": 60', '"step": "60"').replace('"step": 40', "40")
            )
    study = load(written.path)
    table = ablation_table(study)
    assert len(study.damaged) == 3
    assert np.isnan(row(table, "cross")["relative_steps"])
    assert row(table, "concurrent")["relative_steps"] == pytest.approx(40 / 60)
    shown = show_ablation(study, table)[0][2]
    assert dict(zip(shown["level"], shown["steps"], strict=True))["cross"] == "–"


def test_without_recorded_steps_none_are_shown(new_study: NewStudy) -> None:
    _, note, shown = show_ablation(write(new_study, {"base": [0], "cross": [0]}))[0]
    assert set(shown["steps"]) == {"–"}
    assert "where they differ" not in note
