"""Paired differences over seeds and examples, against scipy and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.intervals import (
    Difference,
    interval,
    p_difference,
    p_equivalent,
    paired_difference,
    visible,
)
from analysis.significance import smallest_visible_difference


def table(replicates: int = 4, examples: int = 30, seed: int = 0) -> np.ndarray:
    """What examples add to a difference: seeds, examples and both vary."""
    random = np.random.default_rng(seed)
    seeds, others = random.normal(size=(replicates, 1)), random.normal(size=(1, examples))
    return np.asarray(0.3 + 0.2 * seeds + others + random.normal(size=(replicates, examples)))


def only_seeds(values: np.ndarray) -> Difference:
    return paired_difference([np.repeat(values[:, None], 50, axis=1)])


def test_where_only_seeds_matter_it_is_the_paired_t_test() -> None:
    ours, theirs = np.array([0.71, 0.74, 0.69, 0.75, 0.70]), np.array([0.70, 0.71, 0.69, 0.71, 0.71])
    found = only_seeds(ours - theirs)
    reference = stats.ttest_rel(ours, theirs)
    bounds = reference.confidence_interval(0.95)
    assert float(p_difference(found)) == pytest.approx(reference.pvalue)
    assert [float(end) for end in interval(found)] == pytest.approx([bounds.low, bounds.high])


def test_where_only_examples_matter_it_is_the_t_test_over_examples() -> None:
    answers = table()[0]
    found = paired_difference([np.repeat(answers[None], 3, axis=0)])
    reference = stats.ttest_1samp(answers, 0.0)
    bounds = reference.confidence_interval(0.95)
    assert float(p_difference(found)) == pytest.approx(reference.pvalue)
    assert [float(end) for end in interval(found)] == pytest.approx([bounds.low, bounds.high])


@pytest.mark.parametrize("shift", [0.0, 0.004, -0.03])
def test_equivalence_is_two_one_sided_t_tests(shift: float) -> None:
    differences = np.array([0.002, -0.003, 0.004, 0.001, -0.002]) + shift
    above = stats.ttest_1samp(differences, -0.01, alternative="greater").pvalue
    below = stats.ttest_1samp(differences, 0.01, alternative="less").pvalue
    assert float(p_equivalent(only_seeds(differences), 0.01)) == pytest.approx(max(above, below))


def test_the_parts_of_the_variance_equal_those_of_a_two_way_table_by_loops() -> None:
    y = table()
    replicates, examples = y.shape
    rows = [sum(row) / examples for row in y.tolist()]
    columns = [sum(column) / replicates for column in y.T.tolist()]
    mean = sum(rows) / replicates
    seeds = sum((row - mean) ** 2 for row in rows) / (replicates - 1) / replicates
    both = 0.0
    for r in range(replicates):
        for i in range(examples):
            both += (y[r, i] - rows[r] - columns[i] + mean) ** 2
    both /= (replicates - 1) * (examples - 1) * replicates * examples
    by_example = sum((column - mean) ** 2 for column in columns) / (examples - 1) / examples
    found = paired_difference([y])
    assert float(found.estimate) == pytest.approx(mean)
    assert float(found.seed_variance) == pytest.approx(seeds)
    assert float(found.example_variance) == pytest.approx(by_example - both)
    assert float(found.se) ** 2 == pytest.approx(seeds + by_example - both)


def test_tasks_share_their_seeds_but_not_their_examples() -> None:
    first, second = table(seed=1), table(examples=50, seed=2)
    found, one, other = (paired_difference(tasks) for tasks in ([first, second], [first], [second]))
    means = (first.mean(axis=1) + second.mean(axis=1)) / 2
    assert float(found.seed_variance) == pytest.approx(means.var(ddof=1) / 4)
    parts = [float(part.example_variance) / 4 for part in (one, other)]
    assert float(found.example_variance) == pytest.approx(sum(parts))
    assert float(found.example_df) == pytest.approx(
        sum(parts) ** 2 / (parts[0] ** 2 / 29 + parts[1] ** 2 / 49)
    )


def test_many_differences_at_once_equal_one_by_one() -> None:
    tables = [table(3, seed=seed) for seed in range(4)]
    together = p_difference(paired_difference([np.stack(tables)]))
    np.testing.assert_allclose(together, [p_difference(paired_difference([one])) for one in tables])


def test_an_interval_leaves_zero_out_just_when_its_p_value_is_below_its_level() -> None:
    for seed in range(20):
        found = paired_difference([table(3, seed=seed)])
        p = float(p_difference(found))
        for level, inside in ((1 - p - 1e-3, False), (1 - p + 1e-3, True)):
            if 0 < level < 1:
                low, high = interval(found, level)
                assert (low <= 0 <= high) == inside


def test_the_visible_difference_is_students_where_only_seeds_matter() -> None:
    found = only_seeds(np.array([0.01, 0.03, -0.02, 0.02]))
    expected = smallest_visible_difference(float(found.se), 3, comparisons=6)
    assert float(visible(found, comparisons=6)) == pytest.approx(expected, rel=1e-4)


def test_the_visible_difference_is_students_where_only_examples_matter() -> None:
    found = paired_difference([np.repeat(table()[:1], 3, axis=0)])
    expected = smallest_visible_difference(float(found.se), 29, comparisons=6)
    assert float(visible(found, comparisons=6)) == pytest.approx(expected, rel=1e-3)


def test_visible_differences_of_many_at_once_equal_one_by_one_and_none_is_without_spread() -> None:
    tables = [table(3, seed=seed) for seed in range(3)] + [np.zeros((3, 30))]
    together = visible(paired_difference([np.stack(tables)]), comparisons=2)
    alone = [visible(paired_difference([one]), comparisons=2) for one in tables]
    np.testing.assert_allclose(together, alone)
    assert together[-1] == 0


def test_one_replicate_leaves_the_noise_of_seeds_unknown() -> None:
    found = paired_difference([table(replicates=1)])
    assert float(found.example_variance) == pytest.approx(table(replicates=1)[0].var(ddof=1) / 30)
    unknown = [found.se, p_difference(found), p_equivalent(found, 1.0), visible(found), *interval(found)]
    assert np.isnan(unknown).all()
    assert not np.isnan(found.estimate)


def test_without_any_spread_equal_runs_are_equivalent_and_others_unknown() -> None:
    equal, unlike = (paired_difference([np.full((3, 20), value)]) for value in (0.0, 1.0))
    assert (float(p_difference(equal)), float(p_equivalent(equal, 0.01))) == (1.0, 0.0)
    assert np.isnan([p_difference(unlike), p_equivalent(unlike, 2.0)]).all()
