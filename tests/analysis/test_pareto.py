"""Fronts and hypervolumes against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from analysis.pareto import hypervolume, hypervolume_over_time, non_dominated, pareto_front

TASKS = ["sst", "qqp", "sts"]


def trials(points: np.ndarray) -> pd.DataFrame:
    frame = pd.DataFrame(points, columns=[f"select/{task}" for task in TASKS])
    return frame.assign(number=range(len(frame)), state="complete", score=frame.mean(axis=1))


def union_volume(points: np.ndarray, reference: np.ndarray) -> float:
    """By inclusion and exclusion over all subsets of boxes."""
    total = 0.0
    for count in range(1, len(points) + 1):
        for chosen in itertools.combinations(points, count):
            sides = np.maximum(np.min(chosen, axis=0) - reference, 0.0)
            total += (-1) ** (count + 1) * float(np.prod(sides))
    return total


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_hypervolumes_equal_inclusion_and_exclusion(objectives: int) -> None:
    random = np.random.default_rng(objectives)
    reference = np.full(objectives, 0.2)
    for _ in range(10):
        points = np.round(random.uniform(size=(6, objectives)), 1)  # ties included
        assert hypervolume(points, reference) == pytest.approx(union_volume(points, reference))


def test_the_front_is_what_no_other_point_dominates() -> None:
    random = np.random.default_rng(0)
    points = np.round(random.uniform(size=(60, 3)), 1)
    found = non_dominated(points)
    for place, point in enumerate(points):
        dominated = any(np.all(other >= point) and np.any(other > point) for other in points)
        assert found[place] == (not dominated)


def test_the_front_of_a_study_leaves_out_what_is_not_complete_and_leads_with_the_best_score() -> None:
    frame = trials(
        np.array([[0.5, 0.5, 0.5], [0.9, 0.1, 0.1], [0.4, 0.5, 0.5], [0.9, 0.9, 0.9], [0.1, 0.2, np.nan]])
    )
    frame.loc[3, "state"] = "pruned"
    assert pareto_front(frame, TASKS)["number"].tolist() == [0, 1]
    assert pareto_front(frame.head(0), TASKS).empty


def test_the_hypervolume_over_time_is_that_of_all_trials_so_far() -> None:
    random = np.random.default_rng(1)
    points = random.uniform(-0.1, 1, size=(12, 3))
    shuffled = trials(points).sample(frac=1.0, random_state=0)
    found = hypervolume_over_time(shuffled, TASKS, reference={"sst": 0.2, "sts": -1.0})
    assert found["number"].tolist() == list(range(12))
    for place, volume in enumerate(found["hypervolume"]):
        assert volume == pytest.approx(union_volume(points[: place + 1], np.array([0.2, 0.0, -1.0])))
    assert found["hypervolume"].is_monotonic_increasing
    front = set(pareto_front(shuffled, TASKS)["number"])
    assert front <= set(found.loc[found["on_front"], "number"])


def test_without_complete_trials_there_is_no_volume_to_follow() -> None:
    assert hypervolume_over_time(trials(np.empty((0, 3))), TASKS).empty
    assert hypervolume(np.empty((0, 3)), np.zeros(3)) == 0.0


def test_an_equal_point_stands_on_the_front_beside_the_first() -> None:
    frame = trials(np.array([[0.5, 0.5, 0.5], [0.5, 0.5, 0.5], [0.5, 0.5, 0.4]]))
    grown = hypervolume_over_time(frame, TASKS)
    assert grown["on_front"].tolist() == [True, True, False]
    assert grown["hypervolume"].tolist() == pytest.approx([0.125] * 3)
    assert pareto_front(frame, TASKS)["number"].tolist() == [0, 1]
