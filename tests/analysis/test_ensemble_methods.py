from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from analysis import ensemble, errors, selection
from analysis.description import TaskInfo
from analysis.ensemble import (
    METHODS,
    best_trials,
    candidates_left_out,
    choose,
    methods_table,
    show_methods,
)
from analysis.growth import greedy_growth
from analysis.scoring import metric
from analysis.sections.ensembles import ensemble_sections
from analysis.selection import BAGS, TOP, Candidates, choose_weights, sorted_greedy
from analysis.study import Study, load
from analysis.tables import compute_tables
from analysis.task_ensemble import TaskEnsemble, score_row
from tests.analysis.test_greedy_ensemble import KINDS, outputs_of, predictions


def candidates(kind: str, trials: int = 9, examples: int = 80, seed: int = 0) -> Candidates:
    return Candidates(kind, *outputs_of(kind, trials, examples, seed))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", ["classification", "binary", "regression"])
@pytest.mark.parametrize("trials", [1, 2, 9])
def test_weights_are_shares_of_the_trials(name: str, kind: str, trials: int) -> None:
    weights = choose_weights(name, candidates(kind, trials))
    assert weights.shape == (trials,)
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1)


def test_best_is_the_trial_with_the_highest_metric_and_of_equal_ones_the_first() -> None:
    one = candidates("binary")
    alone = [float(((values[:, 0] >= 0.5) == one.labels).mean()) for values in one.values]
    doubled = Candidates("binary", np.concatenate([one.values, one.values]), one.labels)
    weights = choose_weights("best", doubled)
    assert weights.tolist() == [float(place == int(np.argmax(alone))) for place in range(18)]


def test_top_is_the_plain_mean_of_the_best_trials() -> None:
    one = candidates("regression")
    weights = choose_weights("top", one)
    alone = np.array([np.corrcoef(values[:, 0], one.labels)[0, 1] for values in one.values])
    assert set(np.flatnonzero(weights)) == set(np.argsort(-alone)[:TOP])
    assert set(weights[weights > 0]) == {1 / TOP}


def test_top_takes_all_trials_when_there_are_fewer() -> None:
    assert choose_weights("top", candidates("binary", 3)).tolist() == pytest.approx([1 / 3] * 3)


def test_every_bag_has_one_half_of_the_trials_and_counts_the_same() -> None:
    """Two trials: a bag holds one of them, which is then its whole ensemble."""
    weights = choose_weights("bagged", candidates("binary", 2))
    assert weights * BAGS == pytest.approx(np.round(weights * BAGS))
    assert (weights > 0).all()


def test_bagging_gives_the_same_ensemble_each_time_and_spreads_it_over_more_trials() -> None:
    one = candidates("binary", 20, 60)
    first, second = choose_weights("bagged", one), choose_weights("bagged", one)
    np.testing.assert_array_equal(first, second)
    assert (first > 0).sum() > (choose_weights("sorted", one) > 0).sum()


def test_only_the_select_half_chooses() -> None:
    random = np.random.default_rng(0)
    values, labels = outputs_of("binary", 8, 200, seed=3)
    changed = values.copy()
    changed[:, 1::2] = random.uniform(size=changed[:, 1::2].shape)
    for name in METHODS:
        first, second = (
            choose({"qqp": predictions(one, labels)}, KINDS, name)["qqp"] for one in (values, changed)
        )
        assert first.members == second.members
        assert first.select == second.select
        assert first.report != second.report


def test_the_interval_of_the_report_covers_the_truth_as_often_as_it_says() -> None:
    """The mean of the trials, fixed beforehand, over fresh examples: accuracy and Pearson's r."""
    for kind, task in (("binary", "qqp"), ("regression", "sts")):
        large, labels = outputs_of(kind, 3, 60_000, seed=5)
        rows = np.arange(60_000).reshape(-1, 200)
        truth = metric(kind, large.mean(axis=0), labels)
        found = [choose({task: predictions(large[:, own], labels[own])}, KINDS, "top")[task] for own in rows]
        covered = np.mean([one.report_low <= truth <= one.report_high for one in found])
        sampling = 3.5 * np.sqrt(0.95 * 0.05 / len(rows))
        assert covered == pytest.approx(0.95, abs=sampling)
        # Nothing was chosen, so neither half is the easier one in truth.
        none = np.mean([one.optimism_low <= 0 <= one.optimism_high for one in found])
        assert none == pytest.approx(0.95, abs=sampling)


def test_bagging_is_less_optimistic_than_the_best_of_many_random_trials() -> None:
    random = np.random.default_rng(1)
    labels = random.integers(0, 2, 200).astype(float)
    frame = predictions(random.uniform(size=(60, 200, 1)), labels)
    optimism = {name: choose({"qqp": frame}, KINDS, name)["qqp"].optimism for name in METHODS}
    assert optimism["greedy"] > 0.1
    assert optimism["top"] < optimism["greedy"]


def test_the_table_holds_every_method_for_every_task_and_the_score(searched: Path) -> None:
    study = load(searched)
    stored = {task: study.predictions(task, best_trials(study)) for task in study.tasks}
    table = methods_table(stored, study.tasks)
    expected = [(name, task) for name in METHODS for task in ("sst", "qqp", "sts", "score")]
    assert list(zip(table["method"], table["task"], strict=True)) == expected
    chosen = choose(stored, study.tasks, "bagged")
    row = table.set_index(["method", "task"]).loc[("bagged", "sts")]
    assert row["report"] == chosen["sts"].report
    assert row["optimism"] == pytest.approx(row["select"] - row["report"])
    lone = table[(table["method"] == "best") & (table["task"] != "score")]
    assert (lone["members"] == 1).all()
    assert lone["gain"].tolist() == pytest.approx([0, 0, 0])
    np.testing.assert_allclose(lone["report"], lone["single_report"])


def test_the_scores_interval_adds_the_tasks_variances(searched: Path) -> None:
    study = load(searched)
    table = methods_table({task: study.predictions(task) for task in study.tasks}, study.tasks)
    own = table[table["method"] == "greedy"].set_index("task")
    widths = own["report_high"] - own["report"]
    expected = np.sqrt(widths["sst"] ** 2 + widths["qqp"] ** 2 + (widths["sts"] / 2) ** 2) / 3
    assert widths["score"] == pytest.approx(expected)
    assert own.loc["score", "report_low"] == pytest.approx(own.loc["score", "report"] - expected)
    widths = own["optimism_high"] - own["optimism"]
    expected = np.sqrt(widths["sst"] ** 2 + widths["qqp"] ** 2 + (widths["sts"] / 2) ** 2) / 3
    assert own.loc["score", "optimism_low"] == pytest.approx(own.loc["score", "optimism"] - expected)


def test_a_study_without_a_select_half_says_that_its_ensemble_is_optimistic() -> None:
    values, labels = outputs_of("binary", 4, 50, seed=0)
    frame = predictions(values, labels).assign(half="report")
    found: TaskEnsemble = choose({"qqp": frame}, {"qqp": TaskInfo(kind="binary")})["qqp"]
    assert not found.halves_differ
    assert found.optimism == 0
    assert np.isnan([found.optimism_low, found.optimism_high]).all()


def test_candidates_are_the_best_complete_trials(searched: Path) -> None:
    study = load(searched)
    complete = study.trials[study.trials["state"] == "complete"].sort_values("score", ascending=False)
    assert best_trials(study) == complete["number"].tolist()


def test_intervals_of_gain_and_optimism_are_those_of_the_answers() -> None:
    values, labels = outputs_of("binary", 9, 100, seed=2)
    frame = predictions(values, labels)
    frame.loc[frame.groupby("number").cumcount() >= 60, "half"] = "report"
    found = choose({"qqp": frame}, KINDS, "top")["qqp"]
    select = (frame["half"] == "select").to_numpy()[: len(labels)]
    numbers = sorted(frame["number"].unique())
    shares = [found.members.get(number, 0.0) for number in numbers]
    right, single = (
        ((one > 0.5) == labels).astype(float)
        for one in (np.tensordot(shares, values[..., 0], axes=1), values[numbers.index(found.single), :, 0])
    )
    difference = (right - single)[~select]
    reference = stats.t.interval(0.95, len(difference) - 1, difference.mean(), stats.sem(difference))
    assert (found.gain_low, found.gain_high) == pytest.approx(reference)
    widths = [stats.t.isf(0.025, len(own) - 1) * stats.sem(own) for own in (right[select], right[~select])]
    assert found.optimism_high - found.optimism == pytest.approx(np.hypot(*widths))
    assert found.optimism == pytest.approx(right[select].mean() - right[~select].mean())


def test_only_the_best_trials_are_candidates(searched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = best_trials(load(searched))
    monkeypatch.setattr(ensemble, "POOL", 7)
    assert best_trials(load(searched)) == every[:7]


def test_no_more_than_a_hundred_trials_are_candidates() -> None:
    scores = np.random.default_rng(0).permutation(150) / 150
    trials = pd.DataFrame({"number": range(150), "state": "complete", "score": scores})
    found = best_trials(cast(Study, SimpleNamespace(trials=trials)))
    assert found == np.argsort(-scores)[:100].tolist()


def test_the_gain_where_the_choice_was_made_is_over_the_same_trial() -> None:
    values, labels = outputs_of("regression", 9, 100, seed=2)
    found = choose({"sts": predictions(values, labels)}, KINDS)["sts"]
    select = values[:, ::2, 0]
    shares = [found.members.get(10 * place, 0.0) for place in range(9)]
    alone = [stats.pearsonr(one, labels[::2]).statistic for one in select]
    expected = stats.pearsonr(np.tensordot(shares, select, axes=1), labels[::2]).statistic - max(alone)
    assert expected > 0.01
    assert found.gain_select == pytest.approx(expected)
    others = choose({"qqp": predictions(*outputs_of("binary", 9, 100, seed=3))}, KINDS)
    row = score_row({"sts": found, **others}, {name: KINDS[name] for name in ("sts", "qqp")})
    assert row["gain_select"] == pytest.approx((expected / 2 + others["qqp"].gain_select) / 2)


def test_a_bag_holds_one_half_of_the_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def counted(one: Candidates, rounds: int) -> np.ndarray:
        sizes.append(len(one.values))
        return sorted_greedy(one, rounds)

    monkeypatch.setattr(selection, "sorted_greedy", counted)
    choose_weights("bagged", candidates("binary", 8))
    assert sizes == [4] * BAGS


def test_the_scores_row_has_the_gains_own_interval_and_the_largest_pool() -> None:
    small, large = (choose({"qqp": predictions(*outputs_of("binary", n, 80, n))}, KINDS) for n in (3, 6))
    chosen = {"qqp": small["qqp"], "nli": large["qqp"]}
    row = score_row(chosen, {"qqp": KINDS["qqp"], "nli": KINDS["qqp"]})
    assert row["pool"] == 6
    widths = [one.gain_high - one.gain for one in chosen.values()]
    assert row["gain_high"] == pytest.approx(row["gain"] + np.hypot(*widths) / 2)
    assert row["gain_low"] == pytest.approx(row["gain"] - np.hypot(*widths) / 2)
    assert np.hypot(*widths) > 0


def test_a_member_that_helps_nothing_is_not_taken() -> None:
    values, labels = outputs_of("binary", 1, 50, seed=0)
    grown = greedy_growth({"qqp": predictions(values, labels)}, KINDS, rounds=3)
    assert grown["taken"].tolist() == [True, False, False]


def test_the_terminal_table_gives_optimism_with_its_interval(searched: Path) -> None:
    study = load(searched)
    table = methods_table({task: study.predictions(task) for task in study.tasks}, study.tasks)
    shown = show_methods(table)
    place = int(((table["method"] == "greedy") & (table["task"] == "score")).to_numpy().argmax())
    greedy = 100 * table.loc[place, ["optimism_low", "optimism_high", "gain_select", "gain"]].astype(float)
    assert abs(greedy["gain_select"] - greedy["gain"]) > 0.1, "else the columns could be exchanged"
    assert (
        shown["95% of optimism"].iloc[place]
        == f"{greedy['optimism_low']:+.1f} to {greedy['optimism_high']:+.1f}"
    )
    assert shown["gain on select"].iloc[place] == f"{greedy['gain_select']:+.1f}"
    assert shown["gain"].iloc[place] == f"{greedy['gain']:+.1f}"
    same = show_methods(table, halves_differ=False)
    assert set(same["95% of optimism"]) == set(same["gain on select"]) == {"–"}


@pytest.fixture
def broken(searched: Path, tmp_path: Path) -> Study:
    """A study of which five trials' sts predictions cannot be used, each for another reason."""
    shutil.copytree(searched, tmp_path / "study")
    study = load(tmp_path / "study")
    columns: dict[int, dict[str, Any]] = {
        0: {"output_0": np.nan},
        1: {"id": [f"x{place}" for place in range(410)]},
        3: {"label": np.nan},
    }
    for number, column in columns.items():
        file = study.predictions_file(number, "sts")
        pd.read_parquet(file).assign(**column).to_parquet(file)
    study.predictions_file(2, "sts").unlink()
    study.predictions_file(4, "sts").write_bytes(b"PAR1")
    return load(study.path)


REASONS = {
    0: "outputs that are no numbers",
    1: "other examples",
    2: "no stored predictions",
    3: "no labelled dev example, or outputs that are no numbers",
    4: "a damaged file",
}


def test_trials_whose_answers_cannot_be_combined_are_named(
    broken: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ensemble.main([str(broken.path), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    for number, reason in REASONS.items():
        assert f"sts: left out, as they have {reason}: {number}\n" in said
    assert "qqp: left out" not in said
    assert f"warning: {broken.predictions_file(4, 'sts')}: cannot be read as Parquet" in said
    chosen = yaml.safe_load((tmp_path / "out" / "members.yaml").read_text())["members"]["sts"]
    assert not set(REASONS) & {one["trial"] for one in chosen}


def test_the_reports_ensemble_and_the_agreement_name_the_trials_they_do_without(broken: Study) -> None:
    numbers = best_trials(broken)
    frames = {task: broken.predictions(task, numbers) for task in broken.tasks}
    without = candidates_left_out(broken, frames, numbers)
    assert without.startswith(
        "left out (trials: reason): for sts 0: outputs that are no numbers; 1: other examples;"
    )
    assert all(f"{number}: {reason}" in without for number, reason in REASONS.items())
    section = ensemble_sections(broken, compute_tables(broken))[0]
    assert (
        f"of the 30 best trials: chosen on the select half, quoted on the report half. L{without[1:]}."
        in section.note
    )
    assert errors._agreements(broken)[1] == f" ({without})"
    whole = {task: frame for task, frame in frames.items() if task != "sts"}
    assert candidates_left_out(broken, whole, numbers) == ""
