"""SMART against plain loops, a naive pass with moved word embeddings, and copies of the model."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from minbert.checkpoint import EncoderFiles
from minbert.config import MultitaskStage, SmartConfig, TaskConfig, TrainConfig, build_config
from minbert.corpora.batching import Batch, Batcher
from minbert.corpora.tokenised import TokenisedCorpus
from minbert.model import MultitaskModel, build_model
from minbert.smart import Outputs, Smart, adversarial_offset, divergence

SEED = 11
# Much larger than the defaults, so that fp32's rounding is small beside what is measured.
LARGE = {"noise": 0.02, "step_size": 0.1, "radius": 0.15, "steps": 2}


class Bench:
    """A tiny model, one batch of all tasks, and the stage's SMART."""

    def __init__(
        self, config: TrainConfig, files: EncoderFiles, corpus: TokenisedCorpus, rows: int = 6
    ) -> None:
        stage = config.stages["finetune"]
        assert isinstance(stage, MultitaskStage)
        self.config, self.stage = config, stage
        self.model = build_model(config, files.config, files.weights())
        inputs = {task: self.model.head(task).inputs for task in config.tasks}
        batcher = Batcher(corpus, inputs, config.max_length, torch.device("cpu"), multiple=8)
        self.batch: Batch = batcher.batch("train", [(task, np.arange(rows)) for task in config.tasks])
        self.smart = Smart(self.model, config, stage)

    def outputs(self, model: MultitaskModel | None = None, **arguments: Any) -> Outputs:
        model = model or self.model
        model.dropout.seed(SEED)
        return model(self.batch, self.stage.encoder_dropout, self.stage.dropout, **arguments)

    def penalty(self) -> Outputs:
        return self.smart.penalty(self.batch, self.outputs(), SEED)

    def step(self, number: int) -> None:
        """Move the weights somewhere else, as an optimiser would."""
        self.smart.before_step()
        generator = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.add_(0.03 * torch.randn(parameter.shape, generator=generator))

    def gradients(self, total: Tensor) -> dict[str, Tensor]:
        self.model.clear_gradients()
        total.backward()
        found = {
            name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
            for name, p in self.model.named_parameters()
        }
        self.model.clear_gradients()
        return found


MakeBench = Callable[..., Bench]


@pytest.fixture
def bench(
    configure: Callable[..., TrainConfig], encoder_files: EncoderFiles, small_corpus: TokenisedCorpus
) -> MakeBench:
    def make(dropout: float = 0.0, **smart: Any) -> Bench:
        """``dropout`` is that of the heads; inside the encoder there is half of it."""
        leaves = {"stages__finetune__dropout": dropout, "stages__finetune__encoder_dropout": dropout / 2}
        return Bench(configure(stages__finetune__smart=smart, **leaves), encoder_files, small_corpus)

    return make


def record_offsets(model: MultitaskModel) -> list[Tensor | None]:
    """Offsets of the passes that the model makes from now on."""
    seen: list[Tensor | None] = []

    def remember(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        offset = kwargs.get("offset")
        seen.append(None if offset is None else offset.detach().clone())

    model.register_forward_pre_hook(remember, with_kwargs=True)
    return seen


def moved_words(bench: Bench, offset: Tensor) -> Outputs:
    """Outputs with the offset added behind the model's back to what the word embeddings give."""
    words = bench.model.encoder.embeddings.word_embeddings
    handle = words.register_forward_hook(lambda module, args, output: output + offset)
    try:
        return bench.outputs()
    finally:
        handle.remove()


def by_loops(task: TaskConfig, outputs: Tensor, reference: Tensor) -> Tensor:
    """The divergence from its definition, an example and a class at a time, in float64."""
    total = torch.zeros((), dtype=torch.float64)
    for one, other in zip(outputs.double(), reference.double(), strict=True):
        if task.kind == "regression":
            reach = (task.label_range[1] - task.label_range[0]) / 2 if task.targets == "scaled" else 1.0
            total = total + ((one - other) / reach) ** 2
            continue
        if task.kind == "binary":
            p, q = (torch.stack([z.exp(), torch.ones_like(z)]) / (1 + z.exp()) for z in (one, other))
        else:
            p, q = (z.exp() / z.exp().sum() for z in (one, other))
        for a, b in zip(p, q, strict=True):
            total = total + a * (a / b).log() + b * (b / a).log()
    return total / len(outputs)


def task_of(name: str, **leaves: Any) -> TaskConfig:
    return build_config({"tasks": {name: leaves}}).tasks[name]


TASKS = {
    "classes": task_of("sst"),
    "binary": task_of("qqp"),
    "scaled": task_of("sts", label_range=(1.0, 4.0)),
    "raw": task_of("sts", label_range=(1.0, 4.0), targets="raw"),
}


@pytest.mark.parametrize("name", TASKS)
def test_the_divergence_is_its_definition(name: str) -> None:
    shape = (7, 5) if name == "classes" else (7,)
    generator = torch.Generator().manual_seed(3)
    one, other = torch.randn(2, *shape, generator=generator, dtype=torch.float64) * 2
    found = divergence(TASKS[name], one, other)
    torch.testing.assert_close(found, by_loops(TASKS[name], one, other))
    torch.testing.assert_close(found, divergence(TASKS[name], other, one))
    assert divergence(TASKS[name], one, one) == 0 < found


def test_the_divergence_is_finite_for_certain_answers() -> None:
    certain = torch.tensor([300.0, -300.0])
    assert divergence(TASKS["binary"], certain, -certain) == 600
    assert math.isfinite(divergence(TASKS["classes"], certain[None], -certain[None]))


def test_outputs_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        divergence(TASKS["scaled"], torch.zeros(4, 1), torch.zeros(4))


def test_an_ascent_step_goes_along_the_gradient_over_its_largest_entry_and_to_the_size_of_the_radius() -> (
    None
):
    curvature = torch.tensor([[1.0, 4.0], [9.0, 0.5], [0.0, 0.0]])
    start = torch.tensor([[0.01, -0.02], [0.03, 0.01], [0.02, 0.01]])
    settings = SmartConfig(steps=3, step_size=0.05, radius=0.12)
    found = adversarial_offset(lambda d: (curvature * d**2).sum(), start, settings)
    for first, weights, end in zip(start.tolist(), curvature.tolist(), found.tolist(), strict=True):
        row = first
        for _ in range(3):
            gradient = [2 * weight * value for weight, value in zip(weights, row, strict=True)]
            size = max(map(abs, gradient)) or 1.0
            moved = [value + 0.05 * slope / size for value, slope in zip(row, gradient, strict=True)]
            row = [value * 0.12 / max(map(abs, moved)) for value in moved]
        assert end == pytest.approx(row, rel=1e-5)


def test_a_bare_gradient_is_added_as_it_is() -> None:
    curvature, start = torch.tensor([[1.0, 4.0]]), torch.tensor([[0.01, -0.02]])
    settings = SmartConfig(step_size=0.05, radius=1, gradient="bare")
    found = adversarial_offset(lambda d: (curvature * d**2).sum(), start, settings)
    moved = [0.01 + 0.05 * 2 * 0.01, -0.02 - 0.05 * 8 * 0.02]
    assert found.tolist()[0] == pytest.approx([value / abs(moved[1]) for value in moved], rel=1e-5)


def test_the_ascent_finds_a_worse_direction_than_chance(bench: MakeBench) -> None:
    """The same size of perturbation, token by token, raises every task's divergence less at random."""
    b = bench(weight=1.0)  # the default noise, step size and radius
    clean = {task: value.detach() for task, value in b.outputs().items()}
    seen = record_offsets(b.model)
    b.smart.penalty(b.batch, clean, SEED)
    start, end = seen[0], seen[-1]
    assert start is not None and end is not None and len(seen) == 2

    def divergences(offset: Tensor) -> dict[str, float]:
        perturbed = moved_words(b, offset)
        return {t: by_loops(b.config.tasks[t], perturbed[t], clean[t]).item() for t in clean}

    with torch.no_grad():
        sizes = end.abs().amax(1, keepdim=True)
        random = [divergences(torch.randn_like(end).sign() * sizes) for _ in range(5)]
        found, first = divergences(end), divergences(start)
    for task, value in found.items():
        assert value > 2 * max(draw[task] for draw in random) > 2 * first[task]


@pytest.mark.parametrize("radius", [0.005, 0.05])
def test_every_token_is_moved_by_the_radius(bench: MakeBench, radius: float) -> None:
    b = bench(weight=1.0, steps=4, step_size=0.03, noise=0.02, radius=radius)
    seen = record_offsets(b.model)
    b.penalty()
    offsets = [offset for offset in seen if offset is not None]
    assert len(offsets) == 5
    for offset in offsets[1:]:  # the first is the random start
        torch.testing.assert_close(offset.abs().amax(1), torch.full((len(offset),), radius))


def test_the_start_is_normal_noise_that_the_seed_alone_decides(bench: MakeBench) -> None:
    b = bench(weight=1.0, noise=1e-3, radius=1.0)
    seen = record_offsets(b.model)
    for seed in (SEED, SEED, SEED + 1):
        b.smart.penalty(b.batch, b.outputs(), seed)
    first, again, other = (seen[index] for index in (1, 4, 7))  # each clean pass comes before
    assert first is not None and again is not None and other is not None
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.shape == (len(b.batch.packed.ids), 32)
    assert first.std() == pytest.approx(1e-3, rel=0.05) and abs(first.mean()) < 1e-4


def test_inner_passes_leave_every_gradient_as_it_was(bench: MakeBench) -> None:
    b = bench(dropout=0.1, weight=1.0, bregman=1.0, **LARGE)
    b.step(1)
    outputs = b.outputs()
    b.smart.penalty(b.batch, outputs, SEED)
    assert all(parameter.grad is None for parameter in b.model.parameters())
    torch.stack([value.sum() for value in outputs.values()]).sum().backward()
    before = {name: p.grad.clone() for name, p in b.model.named_parameters() if p.grad is not None}
    assert before["encoder.embeddings.word_embeddings.weight"].any()
    b.penalty()
    for name, parameter in b.model.named_parameters():
        assert (parameter.grad is None) == (name not in before)
        assert parameter.grad is None or torch.equal(parameter.grad, before[name]), name


def test_the_adversarial_terms_gradient_goes_through_both_passes(bench: MakeBench) -> None:
    b = bench(dropout=0.1, weight=0.7, **LARGE)
    seen = record_offsets(b.model)
    penalty = b.penalty()
    offset = seen[-1]
    assert offset is not None
    found = b.gradients(torch.stack(list(penalty.values())).sum())

    clean, perturbed = b.outputs(), moved_words(b, offset)
    naive = {t: 0.7 * by_loops(b.config.tasks[t], perturbed[t], clean[t]) for t in clean}
    expected = b.gradients(torch.stack(list(naive.values())).sum())
    for task, value in penalty.items():
        assert value.item() == pytest.approx(naive[task].item(), rel=1e-3) and value > 1e-4
    for name, gradient in expected.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(found[name], gradient, atol=2e-3 * scale + 1e-7, rtol=1e-3)
    assert found["encoder.embeddings.word_embeddings.weight"].any()


def test_the_weight_scales_the_penalty_and_each_task_has_its_own(bench: MakeBench) -> None:
    one, three = bench(weight=0.5, **LARGE).penalty(), bench(weight=1.5, **LARGE).penalty()
    assert set(one) == {"sst", "qqp", "sts"}
    for task in one:
        assert three[task].item() == pytest.approx(3 * one[task].item(), rel=1e-5)
        assert one[task].shape == () and one[task] > 0


def test_only_tasks_among_the_outputs_are_regularised(bench: MakeBench) -> None:
    b = bench(weight=1.0, bregman=1.0, **LARGE)
    b.step(1)
    whole, outputs = b.penalty(), b.outputs()
    part = b.smart.penalty(b.batch, {"sts": outputs["sts"]}, SEED)
    assert set(part) == {"sts"}
    assert part["sts"].item() == pytest.approx(whole["sts"].item(), rel=1e-4)


def test_all_passes_of_a_step_see_the_same_dropout_masks(bench: MakeBench) -> None:
    """With hardly a perturbation, outputs differ under other masks only."""
    b = bench(dropout=0.3, weight=1.0, noise=1e-9, step_size=1e-9, radius=1e-9)
    same = b.smart.penalty(b.batch, b.outputs(), SEED)
    other = b.smart.penalty(b.batch, b.outputs(), SEED + 1)
    for task in same:
        assert abs(same[task]) < 1e-8 and other[task] > 1e-4
    proximal = bench(dropout=0.3, bregman=1.0)
    proximal.smart.before_step()
    for value in proximal.penalty().values():
        assert value == 0


def test_the_bregman_term_is_0_at_first_and_then_looks_back_one_step(bench: MakeBench) -> None:
    """At the step from θ₂ the earlier model is θ₁, neither θ₀ nor θ₂ itself."""
    b = bench(dropout=0.1, bregman=0.4)
    assert all(value == 0 for value in b.penalty().values())
    b.step(1)
    earlier = copy.deepcopy(b.model)
    b.step(2)
    now, then = b.outputs(), b.outputs(earlier)
    for task, value in b.penalty().items():
        expected = 0.4 * by_loops(b.config.tasks[task], now[task], then[task]).item()
        assert value.item() == pytest.approx(expected, rel=1e-4) and value > 1e-4


def test_with_momentum_the_bregman_term_looks_back_at_a_moving_average(bench: MakeBench) -> None:
    b = bench(bregman=1.0, momentum=0.75)
    visited = []
    for number in range(3):
        visited.append(copy.deepcopy(b.model.state_dict()))
        b.step(number)
    average = copy.deepcopy(b.model)
    mean = visited[0]
    for weights in visited[1:]:
        mean = {name: 0.25 * weights[name] + 0.75 * mean[name] for name in mean}
    average.load_state_dict(mean)
    now, then = b.outputs(), b.outputs(average)
    for task, value in b.penalty().items():
        expected = by_loops(b.config.tasks[task], now[task], then[task]).item()
        assert value.item() == pytest.approx(expected, rel=1e-3)


def test_the_bregman_terms_gradient_reaches_the_present_model_alone(bench: MakeBench) -> None:
    b = bench(bregman=1.0)
    earlier = copy.deepcopy(b.model)
    b.step(1)
    weights = copy.deepcopy(b.model.state_dict())
    found = b.gradients(torch.stack(list(b.penalty().values())).sum())
    with torch.no_grad():
        then = b.outputs(earlier)
    now = b.outputs()
    expected = b.gradients(
        torch.stack([by_loops(b.config.tasks[task], now[task], then[task]) for task in now]).sum()
    )
    for name, gradient in expected.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(found[name], gradient, atol=1e-3 * scale + 1e-7, rtol=1e-3)
    assert not any(value.requires_grad for value in b.smart.state().values())
    assert all(torch.equal(value, weights[name]) for name, value in b.model.state_dict().items())


def test_frozen_parameters_are_not_remembered(bench: MakeBench) -> None:
    b = bench(bregman=1.0)
    b.model.encoder.embeddings.requires_grad_(False)
    b.smart.before_step()
    trained = {name for name, parameter in b.model.named_parameters() if parameter.requires_grad}
    assert set(b.smart.state()) == trained


def test_without_the_bregman_term_nothing_is_remembered(bench: MakeBench) -> None:
    b = bench(weight=1.0)
    b.smart.before_step()
    assert b.smart.state() == {}


def test_a_resumed_term_goes_on_as_if_it_had_never_stopped(bench: MakeBench) -> None:
    b = bench(dropout=0.1, bregman=1.0, momentum=0.5)
    b.step(1)
    b.step(2)
    saved = {name: value.clone() for name, value in b.smart.state().items()}
    kept = {name: value.clone() for name, value in saved.items()}
    resumed = Smart(b.model, b.config, b.stage)
    resumed.load(saved)
    for number in (3, 4):
        outputs = b.outputs()
        expected = b.smart.penalty(b.batch, outputs, SEED)
        found = resumed.penalty(b.batch, outputs, SEED)
        assert all(torch.equal(found[task], expected[task]) for task in expected)
        resumed.before_step()
        b.step(number)
    assert all(torch.equal(value, kept[name]) for name, value in saved.items())
    stale = Smart(b.model, b.config, b.stage)
    stale.load(saved)
    without_two_steps, expected = stale.penalty(b.batch, b.outputs(), SEED), b.penalty()
    assert all(without_two_steps[task] != expected[task] for task in expected)
