"""What a stage minimises: an objective plans the steps of an epoch and computes a step's gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from minbert.canonical import stream_name
from minbert.config import MultitaskStage, SimCSEStage, TrainConfig
from minbert.corpora.batching import Batch, Batcher, plain_sentences
from minbert.corpora.tokenised import TokenisedCorpus
from minbert.encoder import pack
from minbert.losses import simcse_loss, task_loss
from minbert.model import MultitaskModel
from minbert.samplers import EpochShape, ExampleOrder, Step, plan_epoch
from minbert.seeds import stream, stream_seed
from minbert.surgery import combine


@dataclass(frozen=True)
class StepResult:
    """What one step did: detached losses by name, and how much it read."""

    losses: dict[str, Tensor]
    examples: int
    tokens: int


class Objective(Protocol):
    """What a stage minimises."""

    def steps(self, epoch: int) -> int:
        """Number of steps of an epoch (from 1)."""

    def backward(self, epoch: int, index: int) -> StepResult:
        """Compute the gradients of the step ``index`` (from 0) of an epoch."""


class MultitaskObjective:
    """Supervised losses of the tasks in the order of the stage's sampler."""

    def __init__(
        self, model: MultitaskModel, config: TrainConfig, name: str, batcher: Batcher, corpus: TokenisedCorpus
    ) -> None:
        stage = config.stages[name]
        assert isinstance(stage, MultitaskStage)
        self._model, self._config, self._stage = model, config, stage
        self._batcher = batcher
        self._stream = stream_name(config, name)
        names = [task for task in config.tasks if stage.tasks is None or task in stage.tasks]
        self._rows = {task: training_rows(corpus, task, config) for task in names}
        self._batch_sizes = {task: config.tasks[task].batch_size or stage.batch_size for task in names}
        self._orders = {
            task: ExampleOrder(len(rows), config.seed, self._stream, "order", task)
            for task, rows in self._rows.items()
        }
        self._plans: dict[int, list[Step]] = {}
        self._numbers: dict[int, list[dict[str, int]]] = {}

    def steps(self, epoch: int) -> int:
        return len(self._plan(epoch))

    def backward(self, epoch: int, index: int) -> StepResult:
        step = self._plan(epoch)[index]
        requests = [(task, self._examples(task, epoch, index)) for task in step]
        seed = stream_seed(self._config.seed, self._stream, "dropout", epoch, index)
        if self._projects(step):
            losses, tokens = self._backward_projected(requests, seed, (epoch, index))
        else:
            self._model.dropout.seed(seed)
            batch = self._batcher.batch("train", requests)
            losses = self._losses(batch)
            torch.stack(
                [self._config.tasks[task].weight * loss for task, loss in losses.items()]
            ).sum().backward()
            tokens = batch.packed.tokens
        detached = {task: loss.detach() for task, loss in losses.items()}
        return StepResult(detached, sum(len(rows) for _, rows in requests), tokens)

    def _projects(self, step: Step) -> bool:
        nothing_shared = self._stage.freeze_encoder and not self._config.shared_layer
        return self._stage.pcgrad and len(step) > 1 and not nothing_shared

    def _backward_projected(
        self, requests: Sequence[tuple[str, np.ndarray]], seed: int, where: tuple[int, int]
    ) -> tuple[dict[str, Tensor], int]:
        """One backward pass a task; shared gradients are projected, a head's own are left alone."""
        shared = [
            p
            for name, p in self._model.named_parameters()
            if not name.startswith("heads.") and p.requires_grad
        ]
        rows = torch.zeros(
            len(requests), sum(parameter.numel() for parameter in shared), device=shared[0].device
        )
        losses: dict[str, Tensor] = {}
        tokens = 0
        for number, (task, indices) in enumerate(requests):
            self._model.dropout.seed(stream_seed(seed, task))
            batch = self._batcher.batch("train", [(task, indices)])
            losses |= self._losses(batch)
            (self._config.tasks[task].weight * losses[task]).backward()
            _copy_gradients(shared, rows[number])
            self._model.clear_shared_gradients()
            tokens += batch.packed.tokens
        combined = combine(rows, stream(self._config.seed, self._stream, "pcgrad", *where))
        for parameter, part in zip(shared, combined.split([p.numel() for p in shared]), strict=True):
            parameter.grad = part.view_as(parameter)
        return losses, tokens

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        outputs = self._model(batch, self._stage.encoder_dropout, self._stage.dropout)
        losses = {}
        for part in batch.parts:
            assert part.labels is not None
            losses[part.task] = task_loss(self._config.tasks[part.task].kind, outputs[part.task], part.labels)
        return losses

    def _examples(self, task: str, epoch: int, index: int) -> np.ndarray:
        size = self._batch_sizes[task]
        number = self._batch_numbers(epoch)[index][task]
        return self._rows[task][self._orders[task].take(number * size, size)]  # type: ignore[no-any-return]

    def _plan(self, epoch: int) -> list[Step]:
        if epoch not in self._plans:
            sizes = {task: len(rows) for task, rows in self._rows.items()}
            examples = self._stage.epoch_examples or sum(sizes.values())
            shape = EpochShape(sizes, self._batch_sizes, examples, epoch, self._stage.epochs)
            rng = stream(self._config.seed, self._stream, "sampler", epoch)
            self._plans[epoch] = plan_epoch(self._stage.sampler.kind, shape, rng)
        return self._plans[epoch]

    def _batch_numbers(self, epoch: int) -> list[dict[str, int]]:
        """For each step of an epoch, which batch of its order each task gives."""
        if epoch not in self._numbers:
            drawn = dict.fromkeys(self._rows, 0)
            for earlier in range(1, epoch):
                for step in self._plan(earlier):
                    drawn.update({task: drawn[task] + 1 for task in step})
            numbers = []
            for step in self._plan(epoch):
                numbers.append({task: drawn[task] for task in step})
                drawn.update({task: drawn[task] + 1 for task in step})
            self._numbers = {epoch: numbers}
        return self._numbers[epoch]


class SimCSEObjective:
    """Unsupervised SimCSE: every sentence is encoded twice under two dropout masks in one pass."""

    def __init__(
        self,
        model: MultitaskModel,
        config: TrainConfig,
        name: str,
        corpus: TokenisedCorpus,
        device: torch.device,
    ) -> None:
        stage = config.stages[name]
        assert isinstance(stage, SimCSEStage)
        self._model, self._stage, self._seed = model, stage, config.seed
        self._device = device
        self._stream = stream_name(config, name)
        tasks = [task for task in config.tasks if stage.tasks is None or task in stage.tasks]
        self._sentences = plain_sentences(corpus, tasks, stage.max_length)
        self._order = ExampleOrder(len(self._sentences), config.seed, self._stream, "order")

    def steps(self, epoch: int) -> int:
        del epoch  # every epoch is as long as the first
        return math.ceil((self._stage.epoch_examples or len(self._sentences)) / self._stage.batch_size)

    def backward(self, epoch: int, index: int) -> StepResult:
        size = self._stage.batch_size
        start = ((epoch - 1) * self.steps(epoch) + index) * size
        sentences = [self._sentences[i] for i in self._order.take(start, size)]
        seconds = [len(sentence) for sentence in sentences] * 2
        packed = pack(sentences * 2, seconds, self._device, self._model.token_multiple)
        self._model.dropout.seed(stream_seed(self._seed, self._stream, "dropout", epoch, index))
        vectors = self._model.dropout(
            self._model.embed(packed, self._stage.encoder_dropout), self._stage.dropout
        )
        loss = simcse_loss(vectors[:size], vectors[size:], self._stage.temperature)
        loss.backward()
        return StepResult({"simcse": loss.detach()}, size, packed.tokens)


def build_objective(
    model: MultitaskModel, config: TrainConfig, name: str, corpus: TokenisedCorpus, device: torch.device
) -> Objective:
    """The objective of a stage."""
    if isinstance(config.stages[name], SimCSEStage):
        return SimCSEObjective(model, config, name, corpus, device)
    inputs = {task: model.head(task).inputs for task in config.tasks}
    batcher = Batcher(corpus, inputs, config.max_length, device, model.token_multiple)
    return MultitaskObjective(model, config, name, batcher, corpus)


def training_rows(corpus: TokenisedCorpus, task: str, config: TrainConfig) -> np.ndarray:
    """Numbers of the examples that are trained on: all of train, or without its held-out tenth."""
    train = corpus.splits[task]["train"]
    if config.selection == "train_holdout":
        assert train.selected is not None
        return np.flatnonzero(~train.selected)
    return np.arange(len(train))


def _copy_gradients(parameters: Sequence[nn.Parameter], row: Tensor) -> None:
    """Copy gradients end to end into one row; parameters without one leave zeros."""
    views = row.split([parameter.numel() for parameter in parameters])
    for parameter, view in zip(parameters, views, strict=True):
        if parameter.grad is not None:
            view.copy_(parameter.grad.view(-1))
