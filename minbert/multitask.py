"""The multitask objective: supervised losses of the tasks in the order of the stage's sampler."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minbert.canonical import stream_name
from minbert.config import MultitaskStage, TaskConfig, TrainConfig
from minbert.contrastive_losses import mnr_loss
from minbert.corpora.batching import Batch, Batcher, Part
from minbert.corpora.tokenised import TokenisedCorpus
from minbert.draws import Draws, Request
from minbert.gradient_caching import cached_backward
from minbert.losses import task_loss
from minbert.model import MultitaskModel
from minbert.seeds import stream, stream_seed
from minbert.smart import Smart, places_in
from minbert.steps import StepResult
from minbert.surgery import Conflicts, pcgrad_weights
from minbert.task_gradients import TaskGradients
from minbert.weighting import build_weighting

Starts = Callable[[Batch], Tensor]
"""Gives the start (tokens, hidden) of the regulariser's perturbation of a batch."""


class MultitaskObjective:
    """Losses and gradients of a :class:`MultitaskStage`.

    Memory does not grow with the batch where ``micro_batch_size`` is set: gradients are added up
    over its pieces. With PCGrad one row of shared gradients a task is kept besides. Where a pass has to
    hold less than it is configured to, it is cut once more, so that only rounding and dropout masks change.
    """

    def __init__(
        self, model: MultitaskModel, config: TrainConfig, name: str, batcher: Batcher, corpus: TokenisedCorpus
    ) -> None:
        stage = config.stages[name]
        assert isinstance(stage, MultitaskStage)
        self._model, self._config, self._stage = model, config, stage
        self._batcher, self._corpus = batcher, corpus
        self._stream = stream_name(config, name)
        names = config.trained_tasks(stage)
        self._draws = Draws(config, stage, self._stream, names, corpus)
        fixed = {task: config.tasks[task].weight for task in names}
        self._weighting = build_weighting(stage.weighting, names, fixed)
        if self._weighting.module is not None:
            model.auxiliary["weighting"] = self._weighting.module.to(model.dropout.device)
        self._smart = Smart(model, config, stage) if stage.smart.weight or stage.smart.bregman else None
        self._conflicts = Conflicts()
        self._examples = Counter[str]()
        self._gradients = TaskGradients(model)
        self._largest: int | None = None

    def steps(self, epoch: int) -> int:
        return len(self._draws.plan(epoch))

    def largest_pass(self, epoch: int, index: int) -> int:
        rows = max(len(rows) for _, rows in self._draws.requests(epoch, index))
        return min(rows, self._stage.micro_batch_size or rows)

    def backward(self, epoch: int, index: int, largest: int | None = None) -> StepResult:
        self._largest = largest
        if index == 0:
            self._begin(epoch)
        requests = self._draws.requests(epoch, index)
        seed = stream_seed(self._config.seed, self._stream, "dropout", epoch, index)
        if self._projects(requests):
            losses, tokens = self._task_by_task(requests, seed, epoch)
            self._project(requests, epoch, index)
        else:
            losses, tokens = self._together(requests, seed, epoch)
        self._examples.update({task: len(rows) for task, rows in requests})
        return StepResult(losses, sum(len(rows) for _, rows in requests), tokens)

    def before_step(self) -> None:
        if self._smart is not None:
            self._smart.before_step()

    def after_epoch(self, metrics: Mapping[str, float] | None) -> None:
        if metrics is not None:
            self._weighting.after_epoch(metrics)

    def summary(self) -> dict[str, Any]:
        conflicts = self._conflicts.summary()
        return {
            "task_examples": dict(self._examples),
            **({"gradients": conflicts} if conflicts else {}),
        }

    def counts(self) -> dict[str, Any]:
        return {"task_examples": dict(self._examples), "conflicts": self._conflicts.counts()}

    def load_counts(self, counts: Mapping[str, Any]) -> None:
        self._examples = Counter(counts["task_examples"])
        self._conflicts.load(counts["conflicts"])

    def state(self) -> dict[str, Tensor]:
        state = {f"weighting/{name}": value for name, value in self._weighting.state().items()}
        if self._smart is not None:
            state |= {f"smart/{name}": value for name, value in self._smart.state().items()}
        return state

    def load(self, state: Mapping[str, Tensor]) -> None:
        parts: dict[str, dict[str, Tensor]] = {"weighting": {}, "smart": {}}
        for key, value in state.items():
            owner, _, name = key.partition("/")
            parts[owner][name] = value
        self._weighting.load(parts["weighting"])
        if self._smart is not None:
            self._smart.load(parts["smart"])

    def _begin(self, epoch: int) -> None:
        """Forget the last epoch's conflicts, and look for this one's where that is asked for."""
        self._conflicts = Conflicts()
        self._examples = Counter[str]()
        for number in range(self._stage.conflict_batches if self._shares() else 0):
            requests = self._draws.probe(epoch, number)
            self._task_by_task(
                requests, stream_seed(self._config.seed, self._stream, "probe", epoch, number), epoch
            )
            self._conflicts.add([task for task, _ in requests], self._gradients.gram())
            self._model.clear_gradients()

    def _shares(self) -> bool:
        """Whether there is a trained parameter that several tasks use."""
        return not self._stage.freeze_encoder or self._config.shared_layer != "none"

    def _projects(self, requests: Sequence[Request]) -> bool:
        return self._stage.pcgrad and len(requests) > 1 and self._shares()

    def _together(self, requests: Sequence[Request], seed: int, epoch: int) -> tuple[dict[str, Tensor], int]:
        """Gradients of the combined loss, all tasks in one encoder pass."""
        sums: dict[str, Tensor] = {}
        tokens = 0
        for number, pieces in enumerate(self._pieces(requests)):
            losses, count = self._pass(pieces, requests, stream_seed(seed, number) if number else seed, epoch)
            _add(sums, losses)
            tokens += count
        return sums, tokens

    def _task_by_task(
        self, requests: Sequence[Request], seed: int, epoch: int
    ) -> tuple[dict[str, Tensor], int]:
        """One pass a task; its gradients of shared parameters are taken away, a head's own stay in place."""
        gradients = self._gradients
        gradients.begin(len(requests))
        sums: dict[str, Tensor] = {}
        tokens = 0
        for row, request in enumerate(requests):
            for number, pieces in enumerate(self._pieces([request])):
                losses, count = self._pass(pieces, requests, stream_seed(seed, request[0], number), epoch)
                _add(sums, losses)
                tokens += count
            gradients.take(row)
            self._model.clear_shared_gradients()
        return sums, tokens

    def _project(self, requests: Sequence[Request], epoch: int, index: int) -> None:
        gram = self._gradients.gram()
        rng = stream(self._config.seed, self._stream, "pcgrad", epoch, index)
        self._gradients.put(pcgrad_weights(gram, rng))
        self._conflicts.add([task for task, _ in requests], gram)

    def _pieces(self, requests: Sequence[Request]) -> Iterator[list[Request]]:
        """The requests cut into passes of at most ``micro_batch_size`` examples a task."""
        return _cut(requests, self._stage.micro_batch_size or max(len(rows) for _, rows in requests))

    def _pass(
        self, pieces: list[Request], requests: Sequence[Request], seed: int, epoch: int
    ) -> tuple[dict[str, Tensor], int]:
        """Backward pass of some examples, in several where it may not hold so many."""
        largest = self._largest
        if largest is None or max(len(rows) for _, rows in pieces) <= largest:
            return self._piece(pieces, requests, seed, epoch)
        sums: dict[str, Tensor] = {}
        tokens = 0
        whole = None if self._smart is None else self._batcher.batch("train", pieces)
        plain = [request for request in pieces if not self._draws.ranked(request[0], epoch)]
        for number, cut in enumerate(_cut(plain, largest)):
            starts = None if whole is None else self._starts(whole, number * largest, seed)
            own = stream_seed(seed, number) if number else seed
            losses, count = self._piece(cut, requests, own, epoch, starts)
            _add(sums, losses)
            tokens += count
        for task, rows in pieces:
            if self._draws.ranked(task, epoch):
                sums[task], count = self._rank(task, rows, len(requests), stream_seed(seed, "ranked", task))
                tokens += count
        return sums, tokens

    def _starts(self, whole: Batch, first: int, seed: int) -> Starts:
        """Starts of the perturbation that are those of the whole pass."""
        smart = self._smart
        assert smart is not None
        return lambda batch: smart.start(whole, seed)[places_in(batch, whole, first)]

    def _rank(self, task: str, rows: np.ndarray, tasks: int, seed: int) -> tuple[Tensor, int]:
        """Backward pass of a ranked task's whole batch, encoded piece by piece; its loss and the tokens read."""
        cuts = list(_cut([(task, rows)], self._largest or len(rows)))
        batches = [self._batcher.batch("train", cut) for cut in cuts]
        found: list[Tensor] = []

        def encode(piece: tuple[int, Batch]) -> Tensor:
            number, batch = piece
            self._model.dropout.seed(stream_seed(seed, number))
            vectors = self._vectors(batch)
            return torch.stack([vectors[where] for where in batch.parts[0].sequences], dim=1)

        def loss(vectors: Tensor) -> Tensor:
            first, second = vectors.unbind(1)
            found.append(mnr_loss(first, second, self._no_negatives(task, rows)))
            return self._weighting.weighted(task, found[0]) / self._divisor(tasks)

        cached_backward(encode, list(enumerate(batches)), loss)
        return found[0].detach(), sum(batch.packed.tokens for batch in batches)

    def _piece(
        self,
        pieces: list[Request],
        requests: Sequence[Request],
        seed: int,
        epoch: int,
        starts: Starts | None = None,
    ) -> tuple[dict[str, Tensor], int]:
        """Backward pass of some examples, each weighing what it weighs in the whole batch."""
        self._model.dropout.seed(seed)
        batch = self._batcher.batch("train", pieces)
        losses, penalties = self._losses(batch, dict(pieces), seed, epoch, starts)
        whole = {task: len(rows) for task, rows in requests}
        shares = {task: len(rows) / whole[task] for task, rows in pieces}
        parts = [
            shares[task] * self._weighting.weighted(task, loss + penalties.get(task, 0.0))
            for task, loss in losses.items()
        ]
        (torch.stack(parts).sum() / self._divisor(len(requests))).backward()
        report = {task: shares[task] * loss.detach() for task, loss in losses.items()}
        if penalties:
            report["smart"] = torch.stack(
                [shares[t] * value.detach() for t, value in penalties.items()]
            ).sum()
        return report, batch.packed.tokens

    def _divisor(self, tasks: int) -> int:
        """What the losses of so many tasks of a step are divided by."""
        return tasks if self._stage.combine == "mean" else 1

    def _vectors(self, batch: Batch) -> Tensor:
        """(sequences, hidden) pooled vectors after dropout."""
        embedded = self._model.embed(batch.packed, self._stage.encoder_dropout)
        return self._model.dropout(embedded, self._stage.dropout)

    def _losses(
        self, batch: Batch, rows: Mapping[str, np.ndarray], seed: int, epoch: int, starts: Starts | None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Every task's loss, and the regulariser's penalty where there is one."""
        vectors = self._vectors(batch)
        outputs = self._model.outputs(batch, vectors)
        losses: dict[str, Tensor] = {}
        for part in batch.parts:
            if self._draws.ranked(part.task, epoch):
                first, second = (vectors[where] for where in part.sequences)
                losses[part.task] = mnr_loss(first, second, self._no_negatives(part.task, rows[part.task]))
            else:
                assert part.labels is not None
                losses[part.task] = task_loss(self._task(part), outputs[part.task], part.labels)
        if self._smart is None:
            return losses, {}
        smoothed = {t: value for t, value in outputs.items() if not self._draws.ranked(t, epoch)}
        start = None if starts is None else starts(batch)
        return losses, self._smart.penalty(batch, smoothed, seed, start)

    def _task(self, part: Part) -> TaskConfig:
        return self._config.tasks[part.task]

    def _no_negatives(self, task: str, rows: np.ndarray) -> Tensor:
        """(batch, batch) bool: whether a pair's second sentence is no wrong answer to another's first.

        Pairs with a first or second sentence in common answer each other, and a sentence is not asked for itself.
        """
        columns = self._corpus.splits[task]["train"].columns
        first, second = (np.array([texts[row].tobytes().hex() for row in rows]) for texts in columns)
        same = (first[:, None] == first) | (second[:, None] == second) | (first[:, None] == second)
        return torch.from_numpy(same).to(self._model.dropout.device)


def _cut(requests: Sequence[Request], size: int) -> Iterator[list[Request]]:
    """The requests in parts of at most ``size`` examples a task."""
    for start in range(0, max((len(rows) for _, rows in requests), default=0), size):
        yield [(task, rows[start : start + size]) for task, rows in requests if start < len(rows)]


def _add(sums: dict[str, Tensor], losses: Mapping[str, Tensor]) -> None:
    for name, loss in losses.items():
        sums[name] = sums[name] + loss if name in sums else loss
