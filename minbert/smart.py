"""SMART: a model should answer nearly the same under a small perturbation, and as it did a step ago.

Two penalties on a task's outputs f, each a divergence ℓ that is 0 for equal outputs:

* adversarial smoothness: λ · ℓ(f(x + δ), f(x)), where δ is added to the word embeddings of
  every token and climbs ℓ from a small random start;
* Bregman proximal term: μ · ℓ(f(x; θ), f(x; θ̃)), where θ̃ is an earlier model.

Source: Jiang et al. 2020, "SMART: Robust and efficient fine-tuning for pre-trained natural
language models through principled regularized optimization".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minbert.config import MultitaskStage, SmartConfig, TaskConfig, TrainConfig
from minbert.corpora.batching import Batch
from minbert.model import MultitaskModel
from minbert.seeds import stream_seed

Outputs = dict[str, Tensor]
"""(batch,) values or (batch, classes) logits by task."""


class Smart:
    """SMART's penalties of one stage.

    All passes of a step see the same dropout masks, so that only the perturbation, or the
    change of the weights, makes outputs differ.
    """

    def __init__(self, model: MultitaskModel, config: TrainConfig, stage: MultitaskStage) -> None:
        self._model, self._tasks, self._settings = model, config.tasks, stage.smart
        self._rates = (stage.encoder_dropout, stage.dropout)
        self._earlier: dict[str, Tensor] = {}

    def penalty(self, batch: Batch, outputs: Outputs, seed: int, start: Tensor | None = None) -> Outputs:
        """λ · adversarial term + μ · Bregman term of every task in ``outputs``.

        The model's dropout stream is used up afterwards: seed it before the next pass.

        Args:
            batch: the examples.
            outputs: the clean outputs of the same batch, with their graph, computed under ``seed``.
            seed: seed of the step's dropout; the perturbation's start is drawn from a stream of it.
            start: (tokens, hidden) start of the perturbation instead.

        Returns:
            Scalars by task; gradients flow through both sides of the adversarial term and
            through the present model of the Bregman term.
        """
        total = {task: value.new_zeros(()) for task, value in outputs.items()}
        if not total:
            return {}
        if self._settings.weight:
            start = self.start(batch, seed) if start is None else start
            perturbed = self._pass(batch, seed, self._offset(batch, outputs, seed, start))
            for task, value in self._divergences(perturbed, outputs).items():
                total[task] = total[task] + self._settings.weight * value
        if self._settings.bregman and self._earlier:
            with torch.no_grad():
                earlier = self._pass(batch, seed, weights=self._earlier)
            for task, value in self._divergences(outputs, earlier).items():
                total[task] = total[task] + self._settings.bregman * value
        return total

    def start(self, batch: Batch, seed: int) -> Tensor:
        """(tokens, hidden) random start of the perturbation."""
        shape = (len(batch.packed.ids), self._model.encoder.config.hidden_size)
        device = batch.packed.ids.device
        generator = torch.Generator(device).manual_seed(stream_seed(seed, "smart"))
        return self._settings.noise * torch.randn(shape, generator=generator, device=device)

    def before_step(self) -> None:
        """Remember the present weights; call after a step's gradients and before the optimiser moves.

        θ̃ ← (1 − β)θ + βθ̃, so that at the step from θ_t the earlier model is θ_(t−1) (β = 0) or an
        average that ends there. The first step has none and its term is 0.
        """
        if not self._settings.bregman:
            return
        with torch.no_grad():
            for name, parameter in self._model.named_parameters():
                if not parameter.requires_grad:
                    continue
                if name in self._earlier:
                    self._earlier[name].lerp_(parameter, 1 - self._settings.momentum)
                else:
                    self._earlier[name] = parameter.detach().clone()

    def state(self) -> dict[str, Tensor]:
        """The earlier model's weights by parameter name, not copied; empty before the first step."""
        return dict(self._earlier)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a saved state."""
        device = next(self._model.parameters()).device
        self._earlier = {name: value.to(device, copy=True) for name, value in state.items()}

    def _offset(self, batch: Batch, outputs: Outputs, seed: int, start: Tensor) -> Tensor:
        reference = {task: value.detach() for task, value in outputs.items()}

        def loss(offset: Tensor) -> Tensor:
            divergences = self._divergences(self._pass(batch, seed, offset), reference)
            return torch.stack(list(divergences.values())).sum()

        with _constant(self._model):
            return adversarial_offset(loss, start, self._settings)

    def _pass(
        self,
        batch: Batch,
        seed: int,
        offset: Tensor | None = None,
        weights: dict[str, Tensor] | None = None,
    ) -> Outputs:
        """Outputs under the step's dropout masks, of the model itself or with other weights."""
        self._model.dropout.seed(seed)
        arguments: dict[str, Any] = {"offset": offset}
        if weights is None:
            return self._model(batch, *self._rates, **arguments)
        return torch.func.functional_call(self._model, weights, (batch, *self._rates), arguments)

    def _divergences(self, outputs: Outputs, reference: Outputs) -> Outputs:
        """Divergence of every task that both have."""
        return {
            task: divergence(self._tasks[task], value, reference[task])
            for task, value in outputs.items()
            if task in reference
        }


@contextmanager
def _constant(model: MultitaskModel) -> Iterator[None]:
    """Ask for no gradient of the parameters: their backward passes would compute it although nobody looks."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def places_in(part: Batch, whole: Batch, first: int) -> Tensor:
    """(tokens,) where each token of ``part`` stands in ``whole``; of filler, anywhere.

    Args:
        part: of every task some examples in a row, encoded as in ``whole``.
        whole: the batch that they are taken from.
        first: number of the first of them among their task's examples there.
    """
    moves = torch.zeros_like(part.packed.starts)
    wholes = {each.task: each for each in whole.parts}
    for own in part.parts:
        for here, there in zip(own.sequences, wholes[own.task].sequences, strict=True):
            rows = part.packed.rows[here]
            begins = whole.packed.starts[whole.packed.rows[there]][first : first + len(rows)]
            moves[rows] = begins - part.packed.starts[rows]
    return torch.arange(len(part.packed.ids), device=moves.device) + moves[part.packed.owners]


def divergence(task: TaskConfig, outputs: Tensor, reference: Tensor) -> Tensor:
    """How far two outputs for the same examples are apart, on the scale of the task's loss; mean over the batch.

    Classification: KL(p‖q) + KL(q‖p) of the class probabilities. Binary: the same of the two
    classes' probabilities. Regression: mean squared difference, in label units, or with scaled
    targets in units of half the label range.

    Args:
        task: the task that the outputs belong to.
        outputs, reference: (batch, classes) logits, or (batch,) logits or values in label units.

    Raises:
        ValueError: the shapes differ, which would silently broadcast.
    """
    if outputs.shape != reference.shape:
        raise ValueError(
            f"outputs {tuple(outputs.shape)} and reference {tuple(reference.shape)} differ in shape"
        )
    if task.kind == "classification":
        one, other = F.log_softmax(outputs, dim=1), F.log_softmax(reference, dim=1)
        return ((one.exp() - other.exp()) * (one - other)).sum(1).mean()
    if task.kind == "binary":
        # The log odds are the logits: (p − q)(log p/(1 − p) − log q/(1 − q)) is the symmetrised KL.
        return ((torch.sigmoid(outputs) - torch.sigmoid(reference)) * (outputs - reference)).mean()
    error = F.mse_loss(outputs, reference)
    low, high = task.label_range
    return error / ((high - low) / 2) ** 2 if task.targets == "scaled" else error


def adversarial_offset(loss: Callable[[Tensor], Tensor], start: Tensor, settings: SmartConfig) -> Tensor:
    """Climb ``loss`` from ``start``: ``steps`` times δ ← project(δ + η · g), g the gradient at δ.

    A scaled g is divided by its largest entry, token by token: at the small random start it is tiny, and η
    times the bare gradient of the formula leaves the direction to the draw. The projection
    scales every token's δ to a largest entry of ``radius``, as public code does, which disagrees
    about that size (1 in one package, 1e-3 in another): hence the setting.

    Parameters that ``loss`` depends on get no gradient.

    Args:
        loss: scalar of a (tokens, hidden) offset; differentiable.
        start: (tokens, hidden) random start.
        settings: steps, step size and radius.

    Returns:
        (tokens, hidden), without a graph.
    """
    offset = start
    for _ in range(settings.steps):
        offset = offset.detach().requires_grad_()
        # Not backward(): only nodes between offset and loss run, so nothing is added to any .grad,
        # nor to the standing gradient that the word embeddings write to in their own backward pass.
        (gradient,) = torch.autograd.grad(loss(offset), offset)
        direction = _of_size(gradient, 1.0) if settings.gradient == "scaled" else gradient
        offset = _of_size(offset.detach() + settings.step_size * direction, settings.radius)
    return offset


def _of_size(x: Tensor, size: float) -> Tensor:
    """Scale every token's vector to a largest entry of ``size``; zeros stay (no output depends on such a token)."""
    largest = x.abs().amax(dim=1, keepdim=True)
    return x * (size / largest.clamp_min(torch.finfo(x.dtype).tiny))
