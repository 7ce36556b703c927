"""Samplers: which tasks come, how often, in which order, and where an epoch ends."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np
import pytest

from minbert.config import SamplerConfig
from minbert.samplers import (
    EpochShape,
    ExampleOrder,
    Step,
    annealing_exponent,
    plan_epoch,
    task_probabilities,
)

PAPER_SIZES = {"sst": 8544, "qqp": 283010, "sts": 6040}
SIZES = {"sst": 400, "qqp": 1500, "sts": 300}
SAMPLERS = [
    {"kind": "sequential"},
    {"kind": "round_robin"},
    {"kind": "round_robin", "order": ("sst", "sts", "sst", "qqp")},
    {"kind": "merged"},
    {"kind": "proportional"},
    {"kind": "annealed"},
    {"kind": "random", "weights": {"qqp": 2.0}},
    {"kind": "concurrent"},
]
ANY_SAMPLER = pytest.mark.parametrize(
    "leaves", SAMPLERS, ids=lambda leaves: "-".join(map(str, leaves.values()))
)


def plan(leaves: dict[str, Any], seed: int = 0, **shape: Any) -> list[Step]:
    values = {
        "sizes": SIZES,
        "batch_sizes": {"sst": 8, "qqp": 8, "sts": 8},
        "examples": None,
        "steps": None,
        "epoch": 1,
        "epochs": 3,
        **shape,
    }
    return plan_epoch(SamplerConfig(**leaves), EpochShape(**values), np.random.default_rng(seed))


def small(leaves: dict[str, Any], **shape: Any) -> list[Step]:
    """Passes of 3 batches of a (the last one of 1 example), 5 of b and 2 of c."""
    sizes = {"sizes": {"a": 5, "b": 15, "c": 4}, "batch_sizes": {"a": 2, "b": 3, "c": 2}}
    return plan(leaves, **{**sizes, **shape})


def letters(steps: list[Step]) -> str:
    assert all(len(step) == 1 for step in steps)
    return "".join(step[0] for step in steps)


# --- by chance


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [(1, (0.0287, 0.9510, 0.0203)), (4, (0.0676, 0.8800, 0.0524)), (10, (0.2534, 0.5102, 0.2364))],
)
def test_annealed_probabilities_follow_the_formula_over_ten_epochs(
    epoch: int, expected: tuple[float, ...]
) -> None:
    found = task_probabilities(PAPER_SIZES, annealing_exponent(epoch, 10))
    np.testing.assert_allclose(found, expected, atol=5e-5)


def test_annealing_over_one_epoch_is_proportional_and_an_unfinished_epoch_counts() -> None:
    assert annealing_exponent(1, 1) == annealing_exponent(1, 0.5) == 1.0
    assert annealing_exponent(4, 3.5) == pytest.approx(0.2)
    assert annealing_exponent(2, 2.5) == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("leaves", "epoch", "expected"),
    [
        ({"kind": "proportional"}, 3, (400 / 2200, 1500 / 2200, 300 / 2200)),
        ({"kind": "annealed"}, 1, (400 / 2200, 1500 / 2200, 300 / 2200)),
        ({"kind": "annealed"}, 3, (0.310506, 0.404354, 0.285141)),  # 400^.2, 1500^.2, 300^.2 over their sum
        ({"kind": "random"}, 2, (1 / 3, 1 / 3, 1 / 3)),
        ({"kind": "random", "weights": {"qqp": 2.0}}, 2, (1 / 4, 1 / 2, 1 / 4)),
    ],
)
def test_drawn_tasks_come_as_often_as_their_probability_says(
    leaves: dict[str, Any], epoch: int, expected: tuple[float, ...]
) -> None:
    steps = plan(leaves, steps=40_000, epoch=epoch)
    for name, p in zip(SIZES, expected, strict=True):
        share = sum(step == (name,) for step in steps) / len(steps)
        assert abs(share - p) < 4.5 * np.sqrt(p * (1 - p) / len(steps))


def test_merged_takes_every_batch_once_in_a_random_order() -> None:
    found = letters(small({"kind": "merged"}))
    assert sorted(found) == sorted("aaabbbbbcc")
    tiny = small({"kind": "merged"}, sizes={"a": 1, "b": 1, "c": 1})  # batches of 2, 3 and 2
    assert sorted(letters(tiny)) == ["a", "b", "c"]
    orders = {letters(small({"kind": "merged"}, seed=seed)) for seed in range(8)}
    assert len(orders) > 4


def test_merged_shuffles_again_when_the_epoch_is_longer_than_all_batches() -> None:
    found = letters(small({"kind": "merged"}, steps=25))
    assert sorted(found[:10]) == sorted(found[10:20]) == sorted("aaabbbbbcc")
    assert found[:10] != found[10:20]
    assert len(found) == 25


@ANY_SAMPLER
def test_the_same_stream_gives_the_same_plan_and_another_one_another_where_there_is_chance(
    leaves: dict[str, Any],
) -> None:
    one, two, other = (plan(leaves, examples=3000, seed=seed) for seed in (5, 5, 6))
    assert one == two
    assert (one != other) == (leaves["kind"] in ("merged", "proportional", "annealed", "random"))


# --- one after another, and in turn


def test_sequential_passes_once_through_every_entry_and_a_repeat_is_a_second_pass() -> None:
    assert letters(small({"kind": "sequential"})) == "aaa" + "bbbbb" + "cc"
    assert letters(small({"kind": "sequential", "order": ("c", "a", "c")})) == "cc" + "aaa" + "cc"


@pytest.mark.parametrize("order", [None, ("b", "a", "c"), ("a", "c", "a", "c", "b")])
@pytest.mark.parametrize("shape", [{}, {"fidelity": 0.5}, {"epoch": 3, "epochs": 2.5}])
def test_round_robin_by_passes_is_sequential_step_for_step(
    order: tuple[str, ...] | None, shape: dict[str, Any]
) -> None:
    by_passes = small({"kind": "round_robin", "unit": "pass", "order": order}, **shape)
    assert by_passes == small({"kind": "sequential", "order": order}, **shape)


def test_sequential_shares_an_epochs_examples_by_size() -> None:
    assert plan({"kind": "sequential"}, examples=2200) == [("sst",)] * 50 + [("qqp",)] * 188 + [("sts",)] * 38
    # 12 of 4 + 5 + 4 examples: 3.7, 4.6 and 3.7
    assert (
        letters(small({"kind": "sequential", "order": ("c", "a", "c")}, examples=12)) == "cc" + "aaa" + "cc"
    )


def test_sequential_shares_an_epochs_steps_by_batches() -> None:
    assert letters(small({"kind": "sequential"}, steps=20)) == "a" * 6 + "b" * 10 + "c" * 4
    assert letters(small({"kind": "sequential"}, steps=3)) == "abc"
    # 6 · 2/7 = 1.71, 6 · 3/7 = 2.57, 1.71
    assert letters(small({"kind": "sequential", "order": ("c", "a", "c")}, steps=6)) == "ccaacc"


def test_round_robin_takes_turns_until_as_many_examples_as_the_sets_hold() -> None:
    # 24 examples; a round has 7: three rounds and 3 examples, from a and b
    assert letters(small({"kind": "round_robin"})) == "abcabcabcab"
    # a and c hold 9 examples, b is not taken; a turn has 2
    assert letters(small({"kind": "round_robin", "order": ("c", "a", "c")})) == "cacca"


@pytest.mark.parametrize(
    ("order", "end", "rounds"),
    [
        (("a", "b", "c"), "smallest", 2),  # c is through after 2
        (("a", "b", "c"), "largest", 5),  # b after 5
        (("a", "b", "b", "b", "a", "a", "c"), "smallest", 1),  # a after 1, though c is smaller
        (("b", "b", "a", "b"), "largest", 3),  # b after 2, a after 3
    ],
)
def test_round_robin_ends_with_the_round_in_which_a_set_is_through(
    order: tuple[str, ...], end: str, rounds: int
) -> None:
    found = letters(small({"kind": "round_robin", "order": order, "end": end}))
    assert found == "".join(order) * rounds


def test_the_papers_round_robin_has_567_batches() -> None:
    sizes = {"sizes": PAPER_SIZES, "batch_sizes": dict.fromkeys(PAPER_SIZES, 32)}
    assert len(plan({"kind": "round_robin", "end": "smallest"}, **sizes)) == 567  # "Multi-BERT": 189 × 3


def test_concurrent_takes_a_batch_of_every_task_a_step() -> None:
    every = ("a", "b", "c")
    assert small({"kind": "concurrent"}) == [every] * 4  # 24 examples, 7 a step
    assert small({"kind": "concurrent"}, examples=8) == [every] * 2
    assert small({"kind": "concurrent", "end": "smallest"}) == [every] * 2
    assert small({"kind": "concurrent", "end": "largest"}) == [every] * 5
    assert small({"kind": "concurrent"}, steps=9) == [every] * 9


# --- how long


@ANY_SAMPLER
@pytest.mark.parametrize("batch_sizes", [{"sst": 8, "qqp": 8, "sts": 8}, {"sst": 8, "qqp": 32, "sts": 3}])
@pytest.mark.parametrize("examples", [1, 100, 3001, 9000])
def test_plans_hold_the_epochs_examples_and_less_than_one_batch_of_every_task_more(
    leaves: dict[str, Any], batch_sizes: dict[str, int], examples: int
) -> None:
    steps = plan(leaves, examples=examples, batch_sizes=batch_sizes)
    held = sum(batch_sizes[name] for step in steps for name in step)
    assert examples <= held < examples + sum(batch_sizes.values())


@ANY_SAMPLER
@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
def test_a_number_of_steps_is_kept_exactly(leaves: dict[str, Any], steps: int) -> None:
    assert len(plan(leaves, steps=steps)) == steps


@ANY_SAMPLER
@pytest.mark.parametrize("fidelity", [1e-6, 0.01, 0.37, 0.5, 1.0])
def test_fidelity_keeps_a_share_of_the_steps_and_the_tasks_proportions(
    leaves: dict[str, Any], fidelity: float
) -> None:
    whole, thinned = plan(leaves), plan(leaves, fidelity=fidelity)
    turns = leaves["kind"] in ("sequential", "round_robin")
    least = len(leaves.get("order", SIZES)) if turns else 1
    assert len(thinned) == max(least, round(len(whole) * fidelity))
    if turns:
        assert {task for (task,) in thinned} == set(SIZES)
    if fidelity == 1:
        assert thinned == whole
    if fidelity >= 0.3:
        for step in set(whole):
            before, after = (p.count(step) / len(p) for p in (whole, thinned))
            assert abs(after - before) < (0.1 if leaves["kind"] in ("merged", "random") else 0.06)


def test_fidelity_keeps_the_order_and_every_run_of_a_sequence() -> None:
    order = ("b", "c", "b", "a")
    assert letters(small({"kind": "sequential", "order": order})) == "bbbbb" + "cc" + "bbbbb" + "aaa"
    assert letters(small({"kind": "sequential", "order": order}, fidelity=0.4)) == "bb" + "c" + "bb" + "a"
    uneven = {"sizes": {"a": 2, "b": 3000, "c": 2}}
    runs = [task for task, _ in groupby(letters(small({"kind": "sequential"}, fidelity=0.01, **uneven)))]
    assert runs == ["a", "b", "c"]


def test_fidelity_does_not_skip_a_task_whose_turn_comes_at_the_thinnings_own_rhythm() -> None:
    turns = small({"kind": "round_robin", "end": "largest"}, fidelity=1 / 3)
    assert letters(turns) == "abcab"


@ANY_SAMPLER
def test_an_unfinished_epoch_is_the_beginning_of_the_whole_one(leaves: dict[str, Any]) -> None:
    # Annealing follows the number of epochs begun, so 4 is compared.
    whole, half = (plan(leaves, epoch=4, epochs=epochs) for epochs in (4, 3.5))
    assert half == whole[: round(len(whole) / 2)]
    assert plan(leaves, epoch=3, epochs=3.5) == plan(leaves, epoch=3, epochs=4)
    assert plan(leaves, epoch=1, epochs=1e-6) == plan(leaves, epoch=1, epochs=1)[:1]


def test_an_unfinished_epoch_is_cut_after_thinning() -> None:
    found = small({"kind": "sequential"}, fidelity=0.4, epoch=2, epochs=1.5)
    assert letters(found) == "ab"  # the first half of abbc


# --- examples within a task


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
