from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.description import TaskInfo
from analysis.ensemble import choose, ensemble_table, greedy, members_table
from analysis.scoring import metric
from analysis.study import load

KINDS = {
    "sst": TaskInfo(kind="classification", classes=5),
    "qqp": TaskInfo(kind="binary"),
    "sts": TaskInfo(kind="regression"),
}


def outputs_of(kind: str, trials: int, examples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Outputs (trials, examples, outputs) of trials of different skill, and labels."""
    random = np.random.default_rng(seed)
    skill = random.uniform(0.2, 0.8, (trials, 1))
    if kind == "regression":
        labels = random.uniform(0, 5, examples)
        return (skill * labels + random.normal(size=(trials, examples)))[..., None], labels
    if kind == "binary":
        labels = random.integers(0, 2, examples).astype(float)
        logits = skill * (2 * labels - 1) + random.normal(size=(trials, examples))
        return (1 / (1 + np.exp(-logits)))[..., None], labels
    labels = random.integers(0, 5, examples).astype(float)
    logits = random.normal(size=(trials, examples, 5))
    logits[:, np.arange(examples), labels.astype(int)] += skill
    raised = np.exp(logits)
    return raised / raised.sum(axis=-1, keepdims=True), labels


def predictions(values: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    trials, examples, width = values.shape
    columns = {
        "number": np.repeat(np.arange(trials) * 10, examples),
        "split": "dev",
        "half": np.tile(np.where(np.arange(examples) % 2 == 0, "select", "report"), trials),
        "id": np.tile([f"id{place}" for place in range(examples)], trials),
        "label": np.tile(labels, trials),
    }
    flat = values.reshape(-1, width)
    return pd.DataFrame({**columns, **{f"output_{place}": flat[:, place] for place in range(width)}})


def step_by_step(kind: str, values: np.ndarray, labels: np.ndarray, rounds: int, start: str) -> np.ndarray:
    """The selection as the paper states it, by plain loops: weights of the best ensemble met."""

    def score(members: list[int]) -> float:
        return float(metric(kind, values[members].mean(axis=0), labels))

    path: list[int] = []
    if start == "sorted":
        order = np.argsort(-metric(kind, values, labels), kind="stable").tolist()
        prefixes = [order[: length + 1] for length in range(len(order))]
        path = max(prefixes, key=lambda members: (score(members), -len(members)))
    best = path
    for _ in range(rounds):
        path = [*path, max(range(len(values)), key=lambda index: score([*path, index]))]
        if not best or score(path) > score(best) + 1e-12:
            best = path
    return np.bincount(best, minlength=len(values)) / len(best)


@pytest.mark.parametrize("method", ["greedy", "sorted"])
@pytest.mark.parametrize("task", list(KINDS))
def test_the_fast_selection_takes_the_same_steps_as_plain_loops(task: str, method: str) -> None:
    kind = KINDS[task].kind
    values, labels = outputs_of(kind, 8, 120, seed=4)
    found = choose({task: predictions(values, labels)}, KINDS, method, rounds=12)[task]
    expected = step_by_step(kind, values[:, ::2], labels[::2], 12, method)
    assert found.members == pytest.approx({10 * i: weight for i, weight in enumerate(expected) if weight})
    blend = np.tensordot(expected, values, axes=1)
    assert found.select == pytest.approx(metric(kind, blend[::2], labels[::2]))
    assert found.report == pytest.approx(metric(kind, blend[1::2], labels[1::2]))


def test_greedy_is_the_best_of_all_ensembles_that_add_one_member_at_a_time() -> None:
    """Of two members, by brute force: the best single trial, then the best partner for it."""
    for seed in range(5):
        values, labels = outputs_of("regression", 6, 60, seed)
        select = values[:, ::2], labels[::2]
        single = int(np.argmax(metric("regression", *select)))
        pairs = [metric("regression", (values[single] + one)[::2] / 2, labels[::2]) for one in values]
        partner = int(np.argmax(pairs))
        better = pairs[partner] > metric("regression", *select)[single] + 1e-12
        expected = {10 * single, 10 * partner} if better else {10 * single}
        found = choose({"sts": predictions(values, labels)}, KINDS, "greedy", rounds=2)["sts"]
        assert set(found.members) == expected


@pytest.mark.parametrize("method", ["greedy", "sorted"])
@pytest.mark.parametrize("task", list(KINDS))
def test_greedy_comes_close_to_the_best_of_all_small_ensembles(task: str, method: str) -> None:
    kind = KINDS[task].kind
    gaps = []
    for seed in range(5):
        values, labels = outputs_of(kind, 5, 200, seed)
        found = choose({task: predictions(values, labels)}, KINDS, method)[task]
        select = values[:, ::2], labels[::2]
        alone = metric(kind, *select)
        everything = [
            metric(kind, select[0][list(members)].mean(axis=0), select[1])
            for size in range(1, 6)
            for members in itertools.combinations_with_replacement(range(5), size)
        ]
        assert found.select >= alone.max() - 1e-12
        gaps.append(max(everything) - found.select)
    assert np.mean(gaps) <= 0.01


def test_a_lone_good_trial_among_bad_ones_stays_alone() -> None:
    random = np.random.default_rng(0)
    labels = random.uniform(0, 5, 200)
    values = np.stack([labels, random.normal(size=200), random.normal(size=200)])[..., None]
    found = greedy({"sts": predictions(values, labels)}, KINDS)["sts"]
    assert found.members == {0: 1.0}
    assert (found.select, found.report, found.gain, found.gain_low) == pytest.approx((1, 1, 0, 0))


def test_optimism_shows_when_many_random_trials_are_chosen_from() -> None:
    random = np.random.default_rng(1)
    labels = random.integers(0, 2, 200).astype(float)
    values = random.uniform(size=(60, 200, 1))
    found = greedy({"qqp": predictions(values, labels)}, KINDS)["qqp"]
    assert found.select > 0.65
    assert found.report == pytest.approx(0.5, abs=0.12)
    assert found.optimism == found.select - found.report > 0.1
    assert found.gain_low < found.gain < found.gain_high


def test_the_table_adds_the_score_over_all_tasks(searched: Path) -> None:
    study = load(searched)
    chosen = greedy({task: study.predictions(task) for task in study.tasks}, study.tasks)
    table = ensemble_table(chosen, study.tasks).set_index("task")
    assert list(table.index) == ["sst", "qqp", "sts", "score"]
    report = table["report"]
    assert report["score"] == pytest.approx((report["sst"] + report["qqp"] + (report["sts"] + 1) / 2) / 3)
    weights = members_table(chosen).groupby("task")["weight"].sum()
    np.testing.assert_allclose(weights, 1.0)
    single = study.trials.set_index("number").loc[chosen["sst"].single]
    assert single["select/sst"] == study.trials.query("state == 'complete'")["select/sst"].max()
    assert chosen["sst"].single_report == pytest.approx(single["report/sst"])


def test_tasks_without_stored_predictions_are_left_out() -> None:
    empty = pd.DataFrame(columns=["number", "split", "half", "id", "label", "output_0"])
    assert greedy({"sst": empty}, KINDS) == {}
    assert ensemble_table({}, KINDS).empty
    assert members_table({}).empty
