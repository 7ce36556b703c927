"""Samplers: how often each task comes, in which order, and that all epochs cost the same."""

from __future__ import annotations

import numpy as np
import pytest

from minbert.config import SamplerKind
from minbert.samplers import EpochShape, ExampleOrder, annealing_exponent, plan_epoch, task_probabilities

SIZES = {"sst": 8544, "qqp": 283010, "sts": 6040}
KINDS: tuple[SamplerKind, ...] = ("sequential", "round_robin", "proportional", "annealed", "concurrent")


def shape(examples: int = 3000, epoch: int = 1, epochs: int = 3, **batch_sizes: int) -> EpochShape:
    sizes = {"sst": 400, "qqp": 1500, "sts": 300}
    return EpochShape(sizes, {"sst": 8, "qqp": 8, "sts": 8, **batch_sizes}, examples, epoch, epochs)


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [(1, (0.0287, 0.9510, 0.0203)), (4, (0.0676, 0.8800, 0.0524)), (10, (0.2534, 0.5102, 0.2364))],
)
def test_annealed_probabilities_follow_the_formula_over_ten_epochs(
    epoch: int, expected: tuple[float, ...]
) -> None:
    found = task_probabilities(SIZES, annealing_exponent(epoch, 10))
    np.testing.assert_allclose(found, expected, atol=5e-5)


def test_annealing_over_one_epoch_is_proportional() -> None:
    assert annealing_exponent(1, 1) == 1.0


@pytest.mark.parametrize(("kind", "epoch"), [("proportional", 3), ("annealed", 1), ("annealed", 3)])
def test_drawn_tasks_come_as_often_as_their_probability_says(kind: SamplerKind, epoch: int) -> None:
    which = shape(examples=160_000, epoch=epoch)
    plan = plan_epoch(kind, which, np.random.default_rng(0))
    alpha = 1.0 if kind == "proportional" or epoch == 1 else 0.2
    weights = np.array(list(which.sizes.values())) ** alpha
    for name, p in zip(which.sizes, weights / weights.sum(), strict=True):
        share = sum(step == (name,) for step in plan) / len(plan)
        assert abs(share - p) < 4.5 * np.sqrt(p * (1 - p) / len(plan))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", [{}, {"qqp": 32, "sts": 3}])
@pytest.mark.parametrize("examples", [1, 100, 3001])
def test_every_plan_holds_the_epochs_examples_and_less_than_one_batch_of_every_task_more(
    kind: SamplerKind, sizes: dict[str, int], examples: int
) -> None:
    which = shape(examples, **sizes)
    plan = plan_epoch(kind, which, np.random.default_rng(1))
    held = sum(which.batch_sizes[name] for step in plan for name in step)
    assert examples <= held < examples + sum(which.batch_sizes.values())


def test_sequential_runs_each_task_in_one_piece_in_order_by_its_size() -> None:
    plan = plan_epoch("sequential", shape(2200), np.random.default_rng(0))
    assert plan == [("sst",)] * 50 + [("qqp",)] * 188 + [("sts",)] * 38


def test_round_robin_takes_turns_and_concurrent_takes_all_at_once() -> None:
    rng = np.random.default_rng(0)
    assert plan_epoch("round_robin", shape(40), rng) == [("sst",), ("qqp",), ("sts",), ("sst",), ("qqp",)]
    assert plan_epoch("concurrent", shape(40), rng) == [("sst", "qqp", "sts")] * 2


@pytest.mark.parametrize("kind", ["proportional", "annealed"])
def test_the_same_stream_gives_the_same_plan(kind: SamplerKind) -> None:
    one, two, other = (plan_epoch(kind, shape(), np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert one == two != other


def test_example_order_covers_every_example_once_a_pass_in_a_new_order() -> None:
    order = ExampleOrder(10, 3, "order")
    taken = np.concatenate([order.take(start, 4) for start in range(0, 40, 4)])
    passes = taken.reshape(4, 10)
    assert all(sorted(one) == list(range(10)) for one in passes.tolist())
    assert len({tuple(one) for one in passes.tolist()}) == 4


def test_example_order_does_not_depend_on_where_it_is_entered() -> None:
    whole = ExampleOrder(7, 3, "order").take(0, 100)
    assert ExampleOrder(7, 3, "order").take(50, 50).tolist() == whole[50:].tolist()
    again = ExampleOrder(7, 3, "order")
    again.take(90, 10)
    assert again.take(0, 20).tolist() == whole[:20].tolist()
    assert ExampleOrder(7, 4, "order").take(0, 100).tolist() != whole.tolist()
