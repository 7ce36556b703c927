"""An evaluator whose batches get smaller when memory runs out, and are timed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from minbert.corpora.batching import Batch, Batcher
from minbert.errors import TrainingFailure
from minbert.evaluation import Evaluator
from minbert.memory_splits import MemorySplits, Split, is_out_of_memory, release_memory
from minbert.model import MultitaskModel
from minbert.now import Scoring
from minbert.time_limits import Clock

Result = TypeVar("Result")


@dataclass
class _Sizes:
    """Tokens that a batch may hold (None: as many as are asked for), what the last one held, how many there were."""

    most: int | None = None
    tokens: int = 0
    examples: int = 0
    made: int = 0


class GuardedBatcher(Batcher):
    """A batcher that keeps to what fits into memory and tells of every batch; arguments as there.

    Args:
        clock: is told that it begins.
        scoring: is told of its size.
    """

    def __init__(self, *arguments: Any, clock: Clock, scoring: Scoring) -> None:
        super().__init__(*arguments)
        self.clock, self.scoring, self.sizes = clock, scoring, _Sizes()

    def batch(self, split: str, requests: Sequence[tuple[str, np.ndarray]]) -> Batch:
        self.sizes.made += 1
        self.scoring.batch(sum(self.tokens(task, split, rows) for task, rows in requests))
        self.clock.begin("scoring batch", self.sizes.made)
        batch = super().batch(split, requests)
        self.sizes.tokens = batch.packed.tokens
        self.sizes.examples = sum(len(rows) for _, rows in requests)
        return batch

    def in_order_of_length(
        self, task: str, split: str, rows: np.ndarray, budget: int
    ) -> Iterator[np.ndarray]:
        return super().in_order_of_length(task, split, rows, min(budget, self.sizes.most or budget))

    def tokens(self, task: str, split: str, rows: np.ndarray) -> int:
        """About so many tokens there are to score."""
        tables = self._corpus.splits[task][split].columns
        once = sum(int((np.minimum(table.lengths[rows], self._max_length) + 2).sum()) for table in tables)
        return 2 * once if self._inputs[task] == "both_orders" else once


@dataclass(frozen=True)
class GuardedEvaluator(Evaluator):
    """Scores a model in batches half as large whenever memory runs out, to the end of the stage.

    Attributes:
        stage: the stage that is scored.
        splits: where halved batches are noted.
    """

    batcher: GuardedBatcher
    stage: str
    splits: MemorySplits

    def expect(self, choosing: bool, ends: bool) -> None:
        """Say how much there is to score of an epoch.

        Args:
            choosing: whether it may become the one that counts, and is scored as such.
            ends: whether its stage ends with it.
        """
        tokens = 0
        for task, config in self.tasks.items():
            chosen_by, rows = self._choosing(task)
            tokens += self._tokens(task, "dev")
            if chosen_by != "dev":
                tokens += self._tokens(task, chosen_by, rows)
            if choosing and self.partial:  # scored first; the rest only where that is better
                tokens += self._tokens(task, chosen_by, rows[: config.dev_examples])
            if choosing and ends and "test" in self.corpus.splits[task]:
                tokens += self._tokens(task, "test")
        self.batcher.scoring.expect(tokens)

    def _tokens(self, task: str, split: str, rows: np.ndarray | None = None) -> int:
        every = np.arange(len(self.corpus.splits[task][split]))
        return self.batcher.tokens(task, split, every if rows is None else rows)

    def predict(
        self, model: MultitaskModel, task: str, split: str, rows: np.ndarray | None = None
    ) -> np.ndarray:
        return self._in_memory(model, lambda: Evaluator.predict(self, model, task, split, rows))

    def _sentence_vectors(self, model: MultitaskModel, task: str) -> tuple[np.ndarray, np.ndarray]:
        return self._in_memory(model, lambda: Evaluator._sentence_vectors(self, model, task))

    def _in_memory(self, model: MultitaskModel, compute: Callable[[], Result]) -> Result:
        """
        Raises:
            TrainingFailure: memory runs out at one example a batch (cause ``oom``).
        """
        clock, sizes, scoring = self.batcher.clock, self.batcher.sizes, self.batcher.scoring
        done = scoring.done
        while True:
            sizes.most = self.splits.size("evaluation_tokens", self.stage, clock.epoch)
            try:
                return compute()
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                scoring.go_back(done)
            finally:
                scoring.batch(0)
                clock.rest()
            release_memory(model)
            if sizes.examples <= 1:
                raise TrainingFailure("oom", "not enough memory to score one example a batch")
            self.splits.add(Split("evaluation_tokens", self.stage, clock.epoch, 0, sizes.tokens // 2))
