"""Loss weights: what a task's loss adds, what its gradients become, and exact resuming."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from minbert.weighting import AdaptiveWeighting, build_weighting

TASKS = ("sst", "qqp", "sts")
FIXED = {"sst": 1.0, "qqp": 3.0, "sts": 0.5}
LOSSES = {"sst": 1.6, "qqp": 0.7, "sts": 2.0}
SCORES = {"sst": 0.5, "qqp": 0.8, "sts": 0.9}


def loss(task: str) -> Tensor:
    return torch.tensor(LOSSES[task], dtype=torch.float64, requires_grad=True)


def test_fixed_weights_multiply_the_losses_and_scores_change_nothing() -> None:
    weighting = build_weighting("fixed", TASKS, FIXED)
    weighting.after_epoch(SCORES)
    assert weighting.module is None
    for task in TASKS:
        one = loss(task)
        weighted = weighting.weighted(task, one)
        weighted.backward()
        assert float(weighted.detach()) == pytest.approx(FIXED[task] * LOSSES[task])
        assert float(one.grad) == FIXED[task]  # type: ignore[arg-type]


def test_adaptive_weights_are_the_fixed_ones_before_the_first_scores() -> None:
    weighting = build_weighting("adaptive", TASKS, FIXED)
    for task in TASKS:
        assert float(weighting.weighted(task, loss(task)).detach()) == pytest.approx(
            FIXED[task] * LOSSES[task]
        )


def test_adaptive_weights_follow_what_the_last_scores_lack_and_sum_to_the_number_of_tasks() -> None:
    weighting = build_weighting("adaptive", TASKS, FIXED)
    weighting.after_epoch({"sst": 0.1, "qqp": 0.1, "sts": 0.9, "score": 0.4})
    weighting.after_epoch({**SCORES, "score": 0.7})
    by_hand = {"sst": 3 * 0.5 / 0.8, "qqp": 3 * 0.2 / 0.8, "sts": 3 * 0.1 / 0.8}
    for task in TASKS:
        found = float(weighting.weighted(task, loss(task)).detach())
        assert found == pytest.approx(FIXED[task] * by_hand[task] * LOSSES[task])
    plain = build_weighting("adaptive", TASKS, dict.fromkeys(TASKS, 1.0))
    plain.after_epoch(SCORES)
    one = torch.ones((), dtype=torch.float64)
    assert sum(float(plain.weighted(task, one)) for task in TASKS) == pytest.approx(3)


def test_adaptive_weights_of_perfect_scores_are_equal() -> None:
    weighting = build_weighting("adaptive", TASKS, FIXED)
    weighting.after_epoch(SCORES)
    weighting.after_epoch(dict.fromkeys(TASKS, 1.0))
    for task in TASKS:
        assert float(weighting.weighted(task, loss(task)).detach()) == pytest.approx(
            FIXED[task] * LOSSES[task]
        )


def test_adaptive_weights_go_on_exactly_from_their_state() -> None:
    before, after = (AdaptiveWeighting(TASKS, FIXED) for _ in range(2))
    before.after_epoch({"sst": 1 / 3, "qqp": 0.7123, "sts": 0.51})
    after.load(before.state())
    for task in TASKS:
        assert torch.equal(before.weighted(task, loss(task)), after.weighted(task, loss(task)))
    fresh = AdaptiveWeighting(TASKS, FIXED)
    assert not torch.equal(fresh.weighted("sst", loss("sst")), after.weighted("sst", loss("sst")))


@pytest.mark.parametrize("kind", ["fixed", "learned"])
def test_other_weightings_have_no_state_of_their_own(kind: str) -> None:
    weighting = build_weighting(kind, TASKS, FIXED)  # type: ignore[arg-type]
    assert weighting.state() == {}
    weighting.load({})


def learned_parameters(module: nn.Module | None) -> dict[str, nn.Parameter]:
    assert module is not None
    named = dict(module.named_parameters())
    assert len(named) == len(TASKS)
    return {task: next(p for name, p in named.items() if name.endswith(task)) for task in TASKS}


def test_learned_weights_begin_as_the_fixed_ones_with_a_scalar_a_task() -> None:
    weighting = build_weighting("learned", TASKS, FIXED)
    for task, parameter in learned_parameters(weighting.module).items():
        assert parameter.shape == () and float(parameter.detach()) == 0
        found = weighting.weighted(task, loss(task))
        assert float(found.detach()) == pytest.approx(FIXED[task] * LOSSES[task])


def test_learned_weighting_follows_its_formula_in_loss_and_gradients_of_that_task_alone() -> None:
    weighting = build_weighting("learned", TASKS, FIXED)
    parameters = learned_parameters(weighting.module)
    values = {"sst": 0.3, "qqp": -1.2, "sts": 0.8}
    with torch.no_grad():
        for task, value in values.items():
            parameters[task].fill_(value)
    for task, s in values.items():
        for parameter in parameters.values():
            parameter.grad = None
        one = loss(task)
        found = weighting.weighted(task, one)
        found.backward()
        w, size = FIXED[task], LOSSES[task]
        assert float(found.detach()) == pytest.approx(math.exp(-s) * w * size + s, rel=1e-6)
        assert float(one.grad) == pytest.approx(math.exp(-s) * w, rel=1e-6)  # type: ignore[arg-type]
        own = parameters[task].grad
        assert own is not None
        assert float(own) == pytest.approx(1 - math.exp(-s) * w * size, rel=1e-6)
        assert all(p.grad is None for other, p in parameters.items() if other != task)


def test_learned_weights_settle_where_the_weighted_loss_is_one() -> None:
    """s = ln(w·L) is the minimum: no weight goes to 0 or grows without bound."""
    weighting = build_weighting("learned", TASKS, FIXED)
    parameters = learned_parameters(weighting.module)
    optimiser = torch.optim.SGD(parameters.values(), lr=0.3)
    for _ in range(200):
        optimiser.zero_grad()
        torch.stack([weighting.weighted(task, loss(task).detach()) for task in TASKS]).sum().backward()
        optimiser.step()
    for task, parameter in parameters.items():
        assert float(parameter.detach()) == pytest.approx(math.log(FIXED[task] * LOSSES[task]), abs=1e-4)


@pytest.mark.parametrize("name", ["keys", "train", "type", "a-b", "0"])
def test_a_task_may_have_the_name_of_a_modules_attribute(name: str) -> None:
    weighting = build_weighting("learned", (name,), {name: 2.0})
    assert float(weighting.weighted(name, torch.tensor(1.5)).detach()) == 3.0
