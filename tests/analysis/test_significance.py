from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.significance import holm, mean_interval, smallest_visible_difference


def test_holm_equals_published_values() -> None:
    # p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") in R
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])


def test_holm_leaves_missing_values_out_of_the_family() -> None:
    np.testing.assert_allclose(holm([0.02, np.nan, 0.04]), [0.04, np.nan, 0.04])
    assert holm([]).size == 0
    np.testing.assert_allclose(holm([0.9, 0.8]), [1.0, 1.0])


def test_holm_counts_tests_that_are_planned_but_have_no_p_yet() -> None:
    # p.adjust(c(0.01, 0.02, 1, 1, 1), "holm") in R
    np.testing.assert_allclose(holm([0.02, np.nan, 0.01], planned=5), [0.08, np.nan, 0.05])
    np.testing.assert_allclose(holm([0.02, 0.04], planned=1), holm([0.02, 0.04]))
    assert holm([], planned=3).size == 0


@pytest.mark.parametrize("comparisons", [1, 9])
@pytest.mark.parametrize("df", [2, 4, 18])
def test_a_difference_as_large_as_the_visible_one_is_found_four_times_in_five(
    df: int, comparisons: int
) -> None:
    random = np.random.default_rng(df)
    true = smallest_visible_difference(1.0, df, comparisons) + random.normal(size=20_000)
    ratio = true / np.sqrt(random.chisquare(df, 20_000) / df)
    found = np.mean(2 * stats.t.sf(np.abs(ratio), df) < 0.05 / comparisons)
    assert found == pytest.approx(0.8, abs=0.012)


def test_the_visible_difference_grows_with_the_number_of_comparisons() -> None:
    one = smallest_visible_difference(1.0, 1e6)
    assert one == pytest.approx(stats.norm.isf(0.025) + stats.norm.isf(0.2), rel=1e-4)
    assert smallest_visible_difference(1.0, 1e6, comparisons=10) > one
    assert smallest_visible_difference(2.0, 1e6) == pytest.approx(2 * one)


@pytest.mark.parametrize("examples", [3, 200])
def test_the_interval_of_a_mean_is_students_and_covers_it_95_times_in_100(examples: int) -> None:
    samples = np.random.default_rng(1).normal(2.0, 1.0, size=(2000, examples))
    found = [mean_interval(float(one.mean()), one) for one in samples]
    reference = stats.t.interval(0.95, examples - 1, samples[0].mean(), stats.sem(samples[0]))
    assert found[0] == pytest.approx(reference)
    assert np.mean([low <= 2.0 <= high for low, high in found]) == pytest.approx(0.95, abs=0.015)


def test_one_example_has_no_interval() -> None:
    assert np.isnan(mean_interval(0.5, np.array([0.5]))).all()
