"""Learning rates by step, clipping, weight decay, and exact saving of AdamW."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from minbert.config import MultitaskStage
from minbert.optimisation import StageOptimiser, schedule, warmup_steps

STAGE = MultitaskStage(learning_rate=0.1, warmup_share=0.0, schedule="constant", max_grad_norm=1e9)


def parameters() -> dict[str, nn.Parameter]:
    torch.manual_seed(0)
    names = ("dense.weight", "dense.bias", "LayerNorm.weight")
    return {name: nn.Parameter(torch.randn(3, 2)) for name in names}


def gradient(step: int) -> Tensor:
    return torch.randn(3, 2, generator=torch.Generator().manual_seed(step))


def test_warm_up_rises_to_the_full_rate_and_decay_ends_near_zero() -> None:
    linear = [schedule("linear", step, 10, 4) for step in range(10)]
    assert linear == pytest.approx([0.25, 0.5, 0.75, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    cosine = [schedule("cosine", step, 10, 0) for step in range(10)]
    assert cosine == pytest.approx([(1 + math.cos(math.pi * step / 10)) / 2 for step in range(10)])
    assert [schedule("constant", step, 10, 2) for step in range(4)] == [0.5, 1, 1, 1]


def test_warm_up_is_a_share_of_the_steps_unless_steps_are_given() -> None:
    assert warmup_steps(MultitaskStage(warmup_share=0.1), 50) == 5
    assert warmup_steps(MultitaskStage(warmup_share=0.1, warmup_steps=0), 50) == 0


def test_steps_equal_torchs_adamw_with_decay_on_weights_alone() -> None:
    ours, theirs = parameters(), parameters()
    stage = STAGE.model_copy(update={"weight_decay": 0.3, "schedule": "linear"})
    optimiser = StageOptimiser(ours.items(), stage, 5)
    reference = torch.optim.AdamW(
        [
            {"params": [theirs["dense.weight"]], "weight_decay": 0.3},
            {"params": [theirs["dense.bias"], theirs["LayerNorm.weight"]], "weight_decay": 0.0},
        ],
        lr=0.1,
    )
    for step in range(5):
        for named in (ours, theirs):
            for number, parameter in enumerate(named.values()):
                parameter.grad = gradient(10 * step + number)
        for group in reference.param_groups:
            group["lr"] = 0.1 * (1 - step / 5)
        optimiser.step()
        reference.step()
    for name, parameter in ours.items():
        torch.testing.assert_close(parameter, theirs[name])


def test_learned_task_weights_do_not_decay() -> None:
    weight = nn.Parameter(torch.ones(()))
    optimiser = StageOptimiser(
        [("auxiliary.weighting.s_sst", weight)], STAGE.model_copy(update={"weight_decay": 0.5}), 5
    )
    weight.grad = torch.zeros(())
    optimiser.step()
    assert weight.item() == 1


def test_the_global_norm_is_clipped() -> None:
    named = parameters()
    optimiser = StageOptimiser(named.items(), STAGE.model_copy(update={"max_grad_norm": 0.5}), 5)
    for number, parameter in enumerate(named.values()):
        parameter.grad = 100 * gradient(number)
    optimiser.step()
    total = sum(float(p.grad.pow(2).sum()) for p in named.values() if p.grad is not None)
    assert math.sqrt(total) == pytest.approx(0.5, rel=1e-4)


def test_a_norm_of_zero_leaves_the_gradients_as_they_are() -> None:
    named = parameters()
    optimiser = StageOptimiser(named.items(), STAGE.model_copy(update={"max_grad_norm": 0.0}), 5)
    before = {name: parameter.detach().clone() for name, parameter in named.items()}
    for number, parameter in enumerate(named.values()):
        parameter.grad = 100 * gradient(number)
    optimiser.step()
    for number, (name, parameter) in enumerate(named.items()):
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, 100 * gradient(number))
        assert not torch.equal(parameter, before[name])


def test_a_loaded_state_goes_on_bit_for_bit_even_where_parameters_have_stepped_unequally() -> None:
    def train(named: dict[str, nn.Parameter], optimiser: StageOptimiser, steps: range) -> None:
        for step in steps:
            for number, (name, parameter) in enumerate(named.items()):
                absent = name == "dense.bias" and step % 2 == 0
                parameter.grad = None if absent else gradient(10 * step + number)
            optimiser.step()

    whole = parameters()
    stage = STAGE.model_copy(update={"schedule": "cosine"})
    train(whole, StageOptimiser(whole.items(), stage, 6), range(6))
    first = parameters()
    before = StageOptimiser(first.items(), stage, 6)
    train(first, before, range(3))
    saved = {name: value.clone() for name, value in before.state().items()}
    second = {name: nn.Parameter(value.detach().clone()) for name, value in first.items()}
    after = StageOptimiser(second.items(), stage, 6)
    after.load(saved, 3)
    train(second, after, range(3, 6))
    assert all(torch.equal(second[name], value) for name, value in whole.items())
    assert all(torch.equal(value, before.state()[name]) for name, value in saved.items()), "a copy is loaded"
