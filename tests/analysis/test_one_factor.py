"""The ablation table of a one_factor study."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from optuna.trial import TrialState
from scipy import stats

from analysis import one_factor
from analysis.one_factor import (
    VERDICTS,
    ablation_table,
    compare_levels,
    is_one_factor,
    planned_levels,
    read_pulls,
)
from analysis.study import Study, load
from minbert.errors import UserError
from tests.analysis.conftest import StudyWriter

HEAD, SAMPLER, SIMCSE = "tasks.sts.head.kind", "stages.finetune.sampler.kind", "stages.simcse.epochs"
BASE = {HEAD: "cosine", SAMPLER: "sequential", SIMCSE: 0}
META: dict[str, Any] = {
    "design": "one_factor",
    "quote": "report",
    "base": {**BASE, "stages.finetune.pcgrad": None},
    "baseline": "base",
    "comparisons": [
        {"factor": HEAD, "level": "concat", "config_id": "concat"},
        {"factor": HEAD, "level": "cross", "config_id": "cross"},
        {"factor": SAMPLER, "level": "concurrent", "config_id": "concurrent"},
        {"factor": SIMCSE, "level": 1, "config_id": "base"},
    ],
}
CHANGES: dict[str, dict[str, Any]] = {
    "base": {},
    "concat": {HEAD: "concat"},
    "cross": {HEAD: "cross"},
    "concurrent": {SAMPLER: "concurrent", "stages.finetune.pcgrad": False},
}
NewStudy = Callable[..., StudyWriter]


def write(new_study: NewStudy, runs: dict[str, list[int]], **meta: Any) -> Study:
    """A study that ran these replicates of these configurations."""
    writer = new_study(**{**META, **meta})
    for replicate in range(5):
        for name, replicates in runs.items():
            if replicate in replicates:
                writer.add(TrialState.COMPLETE, BASE | CHANGES[name], config_id=name, replicate=replicate)
    return load(writer.path)


def row(table: pd.DataFrame, level: str, target: str = "score") -> pd.Series:
    return table[(table["level"] == level) & (table["target"] == target)].iloc[0]


@pytest.fixture
def finished(new_study: NewStudy) -> Study:
    return write(new_study, {name: [0, 1, 2] for name in CHANGES})


def test_levels_stand_below_their_factors_base(finished: Study) -> None:
    assert planned_levels(finished)[["factor", "level", "base"]].to_numpy().tolist() == [
        [HEAD, "cosine", True],
        [HEAD, "concat", False],
        [HEAD, "cross", False],
        [SAMPLER, "sequential", True],
        [SAMPLER, "concurrent", False],
        [SIMCSE, "0", True],
        [SIMCSE, "1", False],
    ]


@pytest.mark.parametrize("target", ["score", "sst", "qqp", "sts"])
@pytest.mark.parametrize("half", ["report", "dev"])
def test_means_and_differences_are_those_of_the_trials_metrics(
    new_study: NewStudy, target: str, half: str
) -> None:
    study = write(new_study, {name: [0, 1, 2] for name in CHANGES}, quote=half)
    found = row(ablation_table(study), "cross", target)
    by_config = study.trials.groupby("config_id")[f"{half}/{target}"].apply(np.array)
    assert found["mean"] == pytest.approx(by_config["cross"].mean())
    assert found["sd"] == pytest.approx(by_config["cross"].std(ddof=1))
    differences = by_config["cross"] - by_config["base"]
    assert found["difference"] == pytest.approx(differences.mean())
    assert found["se_seeds"] == pytest.approx(differences.std(ddof=1) / np.sqrt(3))
    assert found["examples"] == (3 if target == "score" else 1) * (200 if half == "report" else 400)


def test_the_examples_part_of_an_accuracy_is_that_of_its_answers(finished: Study) -> None:
    frame = finished.predictions("qqp")
    frame = frame[(frame["split"] == "dev") & (frame["half"] == "report")]
    right = (frame["output_0"] > 0.5) == (frame["label"] == 1)
    answers = right.astype(float).groupby(frame["number"]).apply(np.array)
    names = finished.trials.set_index("number")["config_id"]
    cross, base = (np.stack(list(answers[names[names == name].index])) for name in ("cross", "base"))
    y = cross - base
    both = y - y.mean(axis=0) - y.mean(axis=1, keepdims=True) + y.mean()
    variance = y.mean(axis=0).var(ddof=1) / 200 - np.sum(both**2) / (2 * 199) / 3 / 200
    found = row(ablation_table(finished), "cross", "qqp")
    assert found["se_examples"] == pytest.approx(np.sqrt(variance))
    assert found["se"] == pytest.approx(np.hypot(found["se_seeds"], found["se_examples"]))


def test_a_large_effect_is_better_and_the_other_way_round_worse(finished: Study, new_study: NewStudy) -> None:
    found = row(ablation_table(finished), "cross")
    assert found["verdict"] == "better"
    assert 0 < found["ci_low"] < found["difference"] < found["ci_high"]
    turned = {"baseline": "cross", "comparisons": [{"factor": HEAD, "level": "cosine", "config_id": "base"}]}
    study = write(
        new_study, {name: [0, 1, 2] for name in CHANGES}, base={HEAD: "cross"}, folder="b", **turned
    )
    assert row(ablation_table(study), "cosine")["verdict"] == "worse"


def test_each_target_is_a_family_of_its_own_for_holms_correction(finished: Study) -> None:
    table = ablation_table(finished)
    for _, family in table.groupby("target"):
        p = family["p"].dropna()
        assert len(p) == 3  # base rows and the level that is the base are no tests
        smallest = p.idxmin()
        assert family.loc[smallest, "p_holm"] == pytest.approx(min(1, 3 * p[smallest]))
        largest = p.idxmax()
        assert family.loc[largest, "p_holm"] >= p[largest]


def test_a_level_without_effect_is_equivalent_within_a_wide_margin_and_undecided_within_a_narrow_one(
    finished: Study,
) -> None:
    verdicts = {d: row(ablation_table(finished, delta=d), "concurrent")["verdict"] for d in (0.2, 0.0001)}
    assert verdicts == {0.2: "equivalent", 0.0001: "undecided"}


def test_only_pairs_of_one_replicate_are_compared(new_study: NewStudy) -> None:
    runs = {"base": [0, 1, 2], "concat": [1, 2, 3], "cross": [2], "concurrent": [4]}
    study = write(new_study, runs)
    table = ablation_table(study)
    concat, cross, concurrent = (row(table, level) for level in ("concat", "cross", "concurrent"))
    scores = study.trials.set_index(["config_id", "replicate"])["report/score"]
    expected = (scores["concat"] - scores["base"]).loc[[1, 2]].mean()
    assert (concat["n"], concat["pairs"]) == (3, 2)
    assert concat["difference"] == pytest.approx(expected)
    assert (cross["pairs"], cross["verdict"]) == (1, "one run: unknown seed noise")
    assert np.isnan(cross[["ci_low", "p", "p_holm", "visible"]].to_numpy(float)).all()
    assert cross["se_examples"] > 0
    assert (concurrent["n"], concurrent["verdict"]) == (1, "not run")
    assert set(table["verdict"]) <= set(VERDICTS)


def test_a_level_that_trains_as_the_base_says_so(finished: Study) -> None:
    found = row(ablation_table(finished), "1")
    assert found["verdict"] == "same run"
    assert np.isnan(found["p"])


def test_costs_are_relative_to_the_bases(finished: Study) -> None:
    costs = finished.trials.groupby("config_id")["cost_alone"].mean()
    table = ablation_table(finished)
    assert row(table, "cross")["relative_cost"] == pytest.approx(costs["cross"] / costs["base"])
    assert row(table, "cosine")["relative_cost"] == 1.0


@pytest.mark.parametrize("runs", [{}, {"base": [0]}])
def test_a_study_that_has_hardly_begun_gives_a_table_without_verdicts(
    new_study: NewStudy, runs: dict[str, list[int]]
) -> None:
    table = ablation_table(write(new_study, runs))
    assert len(table) == 4 * 7
    assert set(table["verdict"]) == {"base", "not run", "same run"}


def test_trials_without_predictions_and_failed_ones_count_nowhere(new_study: NewStudy) -> None:
    study = write(new_study, {"base": [0, 1, 2], "cross": [0, 1, 2]})
    (study.trial_folder(1) / "predictions" / "sts.parquet").unlink()
    assert study.trials["config_id"].iloc[1] == "cross"
    assert row(ablation_table(study), "cross")["pairs"] == 2


def test_the_visible_difference_and_the_interval_agree_with_scipy_where_seeds_alone_matter() -> None:
    levels = pd.DataFrame(
        {"factor": ["f", "f"], "level": ["a", "b"], "base": [True, False], "config_id": ["a", "b"]}
    )
    ours, theirs = [0.8, 0.7, 0.9], [0.6, 0.65, 0.6]
    runs = pd.DataFrame({"number": range(6), "config_id": ["b"] * 3 + ["a"] * 3, "replicate": [0, 1, 2] * 2})
    pulls = {"qqp": {number: np.full(10, value) for number, value in enumerate(ours + theirs)}}
    table = compare_levels(levels, runs.assign(cost_alone=1.0), pulls, {"qqp": "binary"})
    found, reference = row(table, "b"), stats.ttest_rel(ours, theirs)
    bounds = reference.confidence_interval()
    assert found["p"] == pytest.approx(reference.pvalue)
    assert (found["ci_low"], found["ci_high"]) == pytest.approx((bounds.low, bounds.high))
    error = np.std(np.subtract(ours, theirs), ddof=1) / np.sqrt(3)
    assert found["visible"] == pytest.approx((stats.t.isf(0.025, 2) + stats.t.isf(0.2, 2)) * error)


def test_other_designs_have_no_ablation_table(searched: Any, new_study: NewStudy) -> None:
    study = load(searched)
    assert not is_one_factor(study)
    with pytest.raises(UserError, match="design one_factor"):
        ablation_table(study)
    damaged = load(new_study(design="one_factor").path)
    with pytest.raises(UserError, match=r"study\.yaml: damaged"):
        ablation_table(damaged)


def test_verdicts_go_by_the_corrected_p(finished: Study) -> None:
    rows = ablation_table(finished)
    few = rows[rows["target"] == "score"]
    between = float((few["p"].min() + few["p_holm"].min()) / 2)
    assert few["p"].min() < between < few["p_holm"].min()
    judged = ablation_table(finished, alpha=between)
    assert not judged.loc[judged["target"] == "score", "verdict"].isin(["better", "worse"]).any()


@pytest.mark.parametrize("block", [1, 100])
def test_runs_over_other_examples_are_left_out_however_many_are_read_at_once(
    finished: Study, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(one_factor, "_BLOCK", block)
    file = finished.trial_folder(5) / "predictions" / "sst.parquet"
    stored = pd.read_parquet(file)
    stored.assign(id=stored["id"] + "?").to_parquet(file)
    (finished.trial_folder(0) / "predictions" / "sst.parquet").unlink()
    found = read_pulls(finished, finished.trials["number"])
    assert set(found["sst"]) == set(finished.trials["number"]) - {0, 5}
    assert set(found["qqp"]) == set(finished.trials["number"])


def test_of_a_run_repeated_the_last_counts(new_study: NewStudy) -> None:
    writer = new_study(**META)
    for name in ("base", "base", "cross"):
        writer.add(TrialState.COMPLETE, BASE | CHANGES[name], config_id=name)
    study = load(writer.path)
    found = row(ablation_table(study), "cross")
    scores = study.trials["report/score"]
    assert found["difference"] == pytest.approx(scores[2] - scores[1])
