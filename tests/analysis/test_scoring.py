from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.scoring import answers, influence, metric, stack
from analysis.selection import Candidates
from analysis.submission import submission_text
from minbert.config import TaskKind
from minbert.measures import accuracy, predicted_classes


def stored(number: int, ids: list[str], labels: list[float], outputs: list[float]) -> pd.DataFrame:
    half = ["select" if place % 2 == 0 else "report" for place in range(len(ids))]
    columns = {"number": number, "split": "dev", "half": half, "id": ids, "label": labels}
    return pd.DataFrame({**columns, "output_0": outputs})


def test_pearson_equals_scipy_and_is_zero_for_a_constant_prediction() -> None:
    random = np.random.default_rng(0)
    labels, scores = random.normal(size=50), random.normal(size=(3, 50, 1))
    found = metric("regression", scores, labels)
    np.testing.assert_allclose(found, [stats.pearsonr(row[:, 0], labels).statistic for row in scores])
    assert metric("regression", np.full((50, 1), 3.3), labels) == 0


def test_accuracies_count_the_likeliest_class_and_the_half_threshold() -> None:
    probabilities = np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3], [0.1, 0.1, 0.8]])
    assert metric("classification", probabilities, np.array([1.0, 2.0, 2.0])) == pytest.approx(2 / 3)
    assert metric("binary", np.array([[0.51], [0.49], [0.9]]), np.array([1.0, 0.0, 0.0])) == pytest.approx(
        2 / 3
    )


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("binary", [[0.5], [0.5], [0.5 + 1e-12], [0.5 - 1e-12]]),
        ("classification", [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.2, 0.4, 0.4]]),
    ],
)
def test_ties_are_broken_as_the_training_breaks_them(kind: TaskKind, values: list[list[float]]) -> None:
    outputs, labels = np.array(values), np.array([0.0, 1.0, 1.0, 1.0])
    expected = predicted_classes(kind, outputs)
    np.testing.assert_array_equal(answers(kind, outputs), expected)
    assert metric(kind, outputs, labels) == accuracy(expected, labels)
    np.testing.assert_array_equal(influence(kind, outputs, labels), expected == labels)
    # A forward selection counts with margins, not with classes.
    sums = Candidates(kind, outputs[None], labels).sums()
    assert sums.score_with_each() == pytest.approx(accuracy(expected, labels))
    sums.add(0)
    assert sums.score() == pytest.approx(accuracy(expected, labels))
    assert sums.score_with_each() == pytest.approx(accuracy(expected, labels))
    ids = [str(place) for place in range(4)]
    written = submission_text("qqp", kind, ids, outputs).splitlines()[1:]
    assert [int(line.split(" , ")[1]) for line in written] == expected.tolist()


def test_influences_average_to_the_unit_metric_and_spread_like_its_error() -> None:
    random = np.random.default_rng(1)
    labels = random.normal(size=4000)
    scores = 0.6 * labels + 0.8 * random.normal(size=4000)
    pulls = influence("regression", scores[:, None], labels)
    r = stats.pearsonr(scores, labels).statistic
    assert pulls.mean() == pytest.approx((r + 1) / 2)
    textbook = (1 - r**2) / np.sqrt(4000) / 2  # for two normal variables
    assert pulls.std() / np.sqrt(4000) == pytest.approx(textbook, rel=0.05)


def test_predictions_stack_by_example_whatever_their_order() -> None:
    first = stored(3, ["a", "b", "c", "d"], [1, 0, 1, 0], [0.9, 0.2, 0.6, 0.4])
    second = stored(5, ["a", "b", "c", "d"], [1, 0, 1, 0], [0.1, 0.2, 0.3, 0.4]).iloc[::-1]
    other = stored(7, ["a", "b", "x", "d"], [1, 0, 1, 0], [0.1, 0.2, 0.3, 0.4])
    outputs = stack(pd.concat([first, second, other]))
    assert outputs is not None
    assert outputs.numbers == [3, 5]
    np.testing.assert_array_equal(outputs.values[1, :, 0], [0.1, 0.2, 0.3, 0.4])
    np.testing.assert_array_equal(outputs.select, [True, False, True, False])
    assert outputs.halves_differ


def test_without_halves_the_same_examples_choose_and_report() -> None:
    frame = stored(0, ["a", "b"], [1, 0], [0.9, 0.2]).assign(half=None)
    outputs = stack(frame)
    assert outputs is not None
    assert outputs.select.all()
    assert outputs.report.all()
    assert not outputs.halves_differ
    assert stack(frame.assign(label=np.nan)) is None


def test_the_examples_that_most_trials_share_count_and_the_others_are_named() -> None:
    odd = stored(1, ["a", "b", "x", "d"], [1, 0, 1, 0], [0.1, 0.2, 0.3, 0.4])
    same = [stored(number, list("abcd"), [1, 0, 1, 0], [0.9, 0.2, 0.6, 0.4]) for number in (3, 5)]
    outputs = stack(pd.concat([odd, *same]))
    assert outputs is not None
    assert outputs.numbers == [3, 5]
    assert outputs.left_out == {1: "other examples"}
    like = stack(pd.concat([odd, *same]), like=1)
    assert like is not None
    assert like.numbers == [1]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_trial_with_outputs_that_are_no_numbers_is_left_out_and_named(value: float) -> None:
    broken = stored(1, list("abcd"), [1, 0, 1, 0], [0.1, value, 0.3, 0.4])
    whole = stored(2, list("abcd"), [1, 0, 1, 0], [0.9, 0.2, 0.6, 0.4])
    outputs = stack(pd.concat([broken, whole]))
    assert outputs is not None
    assert outputs.numbers == [2]
    assert outputs.left_out == {1: "outputs that are no numbers"}
    assert stack(broken) is None


def test_ties_are_broken_alike_whatever_has_joined_before() -> None:
    """Halves that cancel: the sum of both is a tie, which the lower class wins."""
    values = np.array([[[0.75], [0.75]], [[0.25], [0.25]]])
    sums = Candidates("binary", values, np.array([0.0, 1.0])).sums()
    sums.add(0)
    assert sums.score_with_each().tolist() == [0.5, 0.5]
    sums.add(1)
    assert sums.score() == 0.5
    lower = Candidates("binary", values, np.array([0.0, 0.0])).sums()
    lower.add(0)
    assert lower.score_with_each().tolist() == [0.0, 1.0]
