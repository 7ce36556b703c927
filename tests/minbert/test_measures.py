"""Measures against scipy and plain loops."""

from __future__ import annotations

import math
import tracemalloc
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import scipy.stats

from minbert.config import TaskKind
from minbert.measures import alignment, is_constant, plain_mean, task_measures, uniformity

KINDS: tuple[TaskKind, ...] = ("classification", "binary", "regression")


@pytest.fixture(autouse=True)
def _no_numeric_warnings() -> Iterator[None]:
    """A division by zero that ends in a defined value by luck still warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def one_hot(classes: list[int], count: int) -> np.ndarray:
    """Probabilities whose largest entry is at the class."""
    return np.full((len(classes), count), 0.1) + 0.5 * np.eye(count)[classes]


def loop_f1(positive: int, classes: list[int], labels: list[int]) -> float:
    pairs = list(zip(classes, labels, strict=True))
    right = sum(c == positive and y == positive for c, y in pairs)
    wrong = sum(c == positive and y != positive for c, y in pairs)
    missed = sum(c != positive and y == positive for c, y in pairs)
    precision, recall = right / max(1, right + wrong), right / max(1, right + missed)
    return 2 * precision * recall / (precision + recall) if right else 0.0


def test_classification_is_measured_by_accuracy_and_the_mean_f1_of_the_classes_that_occur() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, 60).tolist()  # class 4 occurs nowhere and does not count
    classes = [int(y) if rng.random() < 0.6 else int(rng.integers(0, 4)) for y in labels]
    found = task_measures("classification", one_hot(classes, 5), np.array(labels, np.float32))
    assert found["accuracy"] == pytest.approx(np.mean([c == y for c, y in zip(classes, labels, strict=True)]))
    assert found["f1"] == pytest.approx(np.mean([loop_f1(one, classes, labels) for one in range(4)]))


def test_a_class_that_is_only_predicted_counts_in_macro_f1() -> None:
    found = task_measures("classification", one_hot([0, 2], 3), np.array([0.0, 0.0]))
    assert found["f1"] == pytest.approx((2 / 3 + 0) / 2)


def test_binary_tasks_are_measured_by_accuracy_and_the_f1_of_the_positive_class() -> None:
    probabilities = np.array([0.9, 0.51, 0.5, 0.2, 0.7, 0.1])
    labels = [1, 0, 1, 0, 1, 1]
    answers = [1, 1, 0, 0, 1, 0]  # one half is not yet a yes
    found = task_measures("binary", probabilities[:, None], np.array(labels, np.float32))
    assert found["accuracy"] == 3 / 6
    assert found["f1"] == pytest.approx(loop_f1(1, answers, labels))
    assert found["f1"] != pytest.approx((loop_f1(0, answers, labels) + loop_f1(1, answers, labels)) / 2)


def test_f1_is_0_where_nothing_is_positive() -> None:
    assert task_measures("binary", np.full((3, 1), 0.2), np.zeros(3)) == {"accuracy": 1.0, "f1": 0.0}


def test_regression_is_measured_by_pearson_and_spearman_with_ties() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(size=50).round(1).astype(np.float32)
    labels = (values + rng.normal(size=50)).round(0).astype(np.float32)
    found = task_measures("regression", values[:, None], labels)
    assert found["pearson"] == pytest.approx(scipy.stats.pearsonr(values, labels).statistic, abs=1e-6)
    assert found["spearman"] == pytest.approx(scipy.stats.spearmanr(values, labels).statistic)
    assert abs(found["pearson"] - found["spearman"]) > 1e-3


def test_a_perfect_order_that_is_no_line_has_spearman_1_only() -> None:
    labels = np.arange(8.0)
    found = task_measures("regression", np.exp(labels)[:, None], labels)
    assert found["spearman"] == 1.0 and found["pearson"] < 0.9


@pytest.mark.parametrize("values", [[2.0] * 5, [2.0, 2.0000001, 2.0, 1.9999999, 2.0]])
def test_constant_values_have_no_correlation_whatever_rounding_makes_of_them(values: list[float]) -> None:
    labels = np.array([0.0, 3.0, 1.0, 0.0, 2.0])
    predictions = np.array(values)
    nothing = {"pearson": 0.0, "spearman": 0.0}
    assert task_measures("regression", predictions[:, None], labels) == nothing
    assert task_measures("regression", labels[:, None], predictions) == nothing


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_examples_are_never_nan(kind: TaskKind, count: int) -> None:
    predictions = np.full((count, 3 if kind == "classification" else 1), 0.7)
    measures = task_measures(kind, predictions, np.ones(count))
    assert all(math.isfinite(value) for value in measures.values())


def test_a_constant_predictor_is_told_from_one_that_answers_differently_once() -> None:
    assert is_constant("classification", one_hot([2, 2, 2], 4))
    assert not is_constant("classification", one_hot([2, 1, 2], 4))
    assert is_constant("binary", np.array([[0.1], [0.4], [0.3]]))  # always "no"
    assert not is_constant("binary", np.array([[0.1], [0.6], [0.3]]))
    assert is_constant("regression", np.array([[2.5], [2.5], [2.5000001]]))
    assert not is_constant("regression", np.array([[2.5], [2.5], [2.501]]))


def test_the_plain_mean_takes_metrics_as_they_are_and_only_those_of_the_tasks() -> None:
    assert plain_mean({"sst": 0.5, "sts": -0.2, "score": 9.0}, ["sst", "sts"]) == pytest.approx(0.15)


def unit_rows(count: int, width: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, width)) + 0.5
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_alignment_is_the_mean_squared_distance_of_positive_pairs() -> None:
    x, y = unit_rows(9, 4, 1), unit_rows(9, 4, 2)
    expected = np.mean(
        [sum((a - b) ** 2 for a, b in zip(u, v, strict=True)) for u, v in zip(x, y, strict=True)]
    )
    assert alignment(x, y) == pytest.approx(expected)
    assert alignment(3 * x, (0.1 * y).astype(np.float32)) == pytest.approx(expected, rel=1e-6)
    assert alignment(x, 2 * x) == pytest.approx(0) and alignment(x, -x) == pytest.approx(4)


@pytest.mark.parametrize("count", [2, 7, 256, 700])  # below, at and above the chunk
def test_uniformity_is_the_log_of_the_mean_kernel_over_pairs_of_different_vectors(count: int) -> None:
    x = unit_rows(count, 3, count)
    distances = ((x[:, None] - x[None]) ** 2).sum(2)
    off_diagonal = ~np.eye(count, dtype=bool)
    expected = math.log(np.exp(-2 * distances[off_diagonal]).mean())
    assert uniformity(5 * x) == pytest.approx(expected)


def test_uniformity_at_its_ends() -> None:
    assert uniformity(np.ones((4, 3))) == pytest.approx(0)
    assert uniformity(np.eye(5)) == pytest.approx(-4)
    assert uniformity(np.array([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(-8)
    assert uniformity(np.ones((1, 3))) == 0.0 and math.isfinite(uniformity(np.zeros((3, 3))))


def test_uniformity_needs_no_matrix_of_all_pairs() -> None:
    x = unit_rows(4000, 8, 3)
    tracemalloc.start()
    uniformity(x)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4000 * 4000 * 8 * 0.4
