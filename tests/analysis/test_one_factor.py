"""The ablation table of a one_factor study."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from optuna.trial import TrialState
from scipy import stats

from analysis import quoted
from analysis.one_factor import (
    VERDICTS,
    ablation_table,
    compare_levels,
    is_one_factor,
    planned_levels,
)
from analysis.paired import paired_differences
from analysis.quoted import Quoted, read_quoted
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
    table = compare_levels(levels, runs.assign(cost_alone=1.0), Quoted(pulls), {"qqp": "binary"})
    found, reference = row(table, "b"), stats.ttest_rel(ours, theirs)
    bounds = reference.confidence_interval()
    assert found["p"] == pytest.approx(reference.pvalue)
    assert (found["ci_low"], found["ci_high"]) == pytest.approx((bounds.low, bounds.high))
    error = np.std(np.subtract(ours, theirs), ddof=1) / np.sqrt(3)
    reached = stats.nct.sf(stats.t.isf(0.025, 2), 2, found["visible"] / error)
    assert reached == pytest.approx(0.8, abs=0.01)


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
    monkeypatch.setattr(quoted, "_BLOCK", block)
    file = finished.trial_folder(5) / "predictions" / "sst.parquet"
    stored = pd.read_parquet(file)
    stored.assign(id=stored["id"] + "?").to_parquet(file)
    (finished.trial_folder(0) / "predictions" / "sst.parquet").unlink()
    read = read_quoted(finished, finished.trials["number"])
    found = read.pulls
    assert set(found["sst"]) == set(finished.trials["number"]) - {0, 5}
    assert set(found["qqp"]) == set(finished.trials["number"])
    assert read.left_out == {0: "no stored predictions", 5: "other examples"}


def test_of_a_run_repeated_the_last_counts(new_study: NewStudy) -> None:
    writer = new_study(**META)
    for name in ("base", "base", "cross"):
        writer.add(TrialState.COMPLETE, BASE | CHANGES[name], config_id=name)
    study = load(writer.path)
    found = row(ablation_table(study), "cross")
    scores = study.trials["report/score"]
    assert found["difference"] == pytest.approx(scores[2] - scores[1])


def change(study: Study, number: int, task: str, **columns: Any) -> None:
    file = study.trial_folder(number) / "predictions" / f"{task}.parquet"
    pd.read_parquet(file).assign(**columns).to_parquet(file)


def test_runs_that_ended_without_comparable_answers_are_not_said_to_be_missing(finished: Study) -> None:
    by_config = finished.trials.groupby("config_id")["number"].agg(list)
    for number in by_config["concat"]:
        (finished.trial_folder(number) / "predictions" / "qqp.parquet").unlink()
    for place, number in enumerate(by_config["cross"]):
        change(finished, number, "sst", id=[f"{place}-{one}" for one in range(410)])
    change(finished, by_config["concurrent"][0], "sts", output_0=np.nan)
    table = ablation_table(finished)
    concat, cross, concurrent = (row(table, level) for level in ("concat", "cross", "concurrent"))
    assert concat["verdict"] == "no stored predictions"
    assert cross["verdict"] == "other examples"
    assert (concurrent["n"], concurrent["pairs"]) == (2, 2)
    assert concurrent["left_out"] == (f"{by_config['concurrent'][0]}: outputs that are no numbers",)
    assert concurrent["mean"] > 0.3
    assert row(table, "cosine")["left_out"] == ()


def test_one_answer_for_everything_in_level_and_base_measures_nothing(finished: Study) -> None:
    by_config = finished.trials.groupby("config_id")["number"].agg(list)
    before = row(ablation_table(finished, delta=0.5), "concurrent")
    assert before["verdict"] == "equivalent"
    for number in by_config["base"]:
        change(finished, number, "qqp", output_0=0.2)
    assert row(ablation_table(finished, delta=0.5), "concurrent", "qqp")["verdict"] != "constant"
    for number in by_config["concurrent"]:
        change(finished, number, "qqp", output_0=[0.1 + 0.3 * (place % 2) for place in range(410)])
    table = ablation_table(finished, delta=0.5)
    assert row(table, "concurrent", "qqp")["verdict"] == "constant"
    assert row(table, "concurrent")["verdict"] == "undecided"
    assert row(table, "concurrent", "sst")["verdict"] == "equivalent"


def test_a_level_is_equivalent_only_below_alpha(finished: Study) -> None:
    found = row(ablation_table(finished, delta=0.2), "concurrent")
    p = float(found["p_equivalent"])
    assert 0 < p < found["p_holm"] / 2
    verdicts = [
        row(ablation_table(finished, delta=0.2, alpha=factor * p), "concurrent")["verdict"]
        for factor in (0.9, 1.1)
    ]
    assert verdicts == ["undecided", "equivalent"]


def test_of_a_run_repeated_the_last_is_in_the_paired_differences(new_study: NewStudy) -> None:
    writer = new_study(**META)
    for name in ("base", "base", "cross", "cross"):
        writer.add(TrialState.COMPLETE, BASE | CHANGES[name], config_id=name)
    study = load(writer.path)
    pairs = paired_differences(planned_levels(study), study.trials, "report/sts")
    scores = study.trials["report/sts"]
    assert pairs["difference"].tolist() == [pytest.approx(scores[3] - scores[1])]
    assert scores[3] - scores[1] != pytest.approx(scores[2] - scores[0])
