"""Which examples of which tasks every step of a multitask stage takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minbert.config import MultitaskStage, TaskConfig, TrainConfig
from minbert.corpora.rows import training_rows
from minbert.corpora.tokenised import TokenisedCorpus
from minbert.samplers import EpochShape, ExampleOrder, Step, plan_epoch
from minbert.seeds import stream

Request = tuple[str, np.ndarray]
"""A task and its (batch,) example numbers."""


class Draws:
    """Which examples of which tasks every step takes."""

    def __init__(
        self,
        config: TrainConfig,
        stage: MultitaskStage,
        stage_stream: str,
        names: Sequence[str],
        corpus: TokenisedCorpus,
    ) -> None:
        self._config, self._stage, self._stream = config, stage, stage_stream
        self._rows = {task: training_rows(corpus, task, config.selection) for task in names}
        self._positives = {
            task: positives(corpus, task, config.tasks[task], self._rows[task]) for task in stage.mnr.tasks
        }
        self._sizes = {task: config.tasks[task].batch_size or stage.batch_size for task in names}
        self._orders = {task: self._order(rows, "order", task) for task, rows in self._rows.items()}
        self._ranking = {task: self._order(rows, "ranking", task) for task, rows in self._positives.items()}
        self._probes = {task: self._order(rows, "probe", task) for task, rows in self._rows.items()}
        self._plans: dict[int, list[Step]] = {}
        self._numbers: dict[int, list[dict[str, int]]] = {}

    def plan(self, epoch: int) -> list[Step]:
        """The steps of an epoch."""
        if epoch not in self._plans:
            sizes = {task: len(rows) for task, rows in self._rows.items()}
            shape = EpochShape.of(self._config, self._stage, sizes, epoch)
            rng = stream(self._config.seed, self._stream, "sampler", epoch)
            self._plans[epoch] = plan_epoch(self._stage.sampler, shape, rng)
        return self._plans[epoch]

    def requests(self, epoch: int, index: int) -> list[Request]:
        """Tasks of a step and their example numbers."""
        numbers = self._batch_numbers(epoch)[index]
        return [(task, self._take(task, epoch, numbers[task])) for task in self.plan(epoch)[index]]

    def probe(self, epoch: int, number: int) -> list[Request]:
        """A batch of every task that no step depends on."""
        drawn = (epoch - 1) * self._stage.conflict_batches + number
        return [
            (task, self._rows[task][order.take(drawn * self._sizes[task], self._sizes[task])])
            for task, order in self._probes.items()
            if not self.ranked(task, epoch)
        ]

    def ranked(self, task: str, epoch: int) -> bool:
        """Whether a task is trained by ranking in an epoch."""
        return task in self._stage.mnr.tasks and epoch <= self._stage.ranked_epochs

    def _take(self, task: str, epoch: int, number: int) -> np.ndarray:
        ranked = self.ranked(task, epoch)
        rows, orders = (self._positives, self._ranking) if ranked else (self._rows, self._orders)
        size = min(self._sizes[task], len(rows[task])) if ranked else self._sizes[task]
        return rows[task][orders[task].take(number * size, size)]  # type: ignore[no-any-return]

    def _order(self, rows: np.ndarray, purpose: str, task: str) -> ExampleOrder:
        return ExampleOrder(len(rows), self._config.seed, self._stream, purpose, task)

    def _batch_numbers(self, epoch: int) -> list[dict[str, int]]:
        """For each step of an epoch, which batch of its order each task gives."""
        if epoch not in self._numbers:
            drawn = dict.fromkeys(self._rows, 0)
            for earlier in range(1, epoch):
                for step in self.plan(earlier):
                    drawn.update({task: drawn[task] + 1 for task in step})
            numbers = []
            for step in self.plan(epoch):
                numbers.append({task: drawn[task] for task in step})
                drawn.update({task: drawn[task] + 1 for task in step})
            self._numbers = {epoch: numbers}
        return self._numbers[epoch]


def positives(corpus: TokenisedCorpus, task: str, config: TaskConfig, rows: np.ndarray) -> np.ndarray:
    """Those of the training rows whose pair is positive: label 1, or at least four fifths up the label range."""
    labels = corpus.splits[task]["train"].labels
    assert labels is not None
    return rows[labels[rows] >= config.positive_from]  # type: ignore[no-any-return]
