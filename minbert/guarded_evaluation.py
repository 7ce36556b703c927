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
    """A batcher that keeps to what fits into memory and tells a clock of every batch; arguments as there."""

    def __init__(self, *arguments: Any, clock: Clock) -> None:
        super().__init__(*arguments)
        self.clock, self.sizes = clock, _Sizes()

    def batch(self, split: str, requests: Sequence[tuple[str, np.ndarray]]) -> Batch:
        self.sizes.made += 1
        self.clock.begin("scoring batch", self.sizes.made)
        batch = super().batch(split, requests)
        self.sizes.tokens = batch.packed.tokens
        self.sizes.examples = sum(len(rows) for _, rows in requests)
        return batch

    def in_order_of_length(
        self, task: str, split: str, rows: np.ndarray, budget: int
    ) -> Iterator[np.ndarray]:
        return super().in_order_of_length(task, split, rows, min(budget, self.sizes.most or budget))


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
        clock, sizes = self.batcher.clock, self.batcher.sizes
        while True:
            sizes.most = self.splits.size("evaluation_tokens", self.stage, clock.epoch)
            try:
                return compute()
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            finally:
                clock.rest()
            release_memory(model)
            if sizes.examples <= 1:
                raise TrainingFailure("oom", "not enough memory to score one example a batch")
            self.splits.add(Split("evaluation_tokens", self.stage, clock.epoch, 0, sizes.tokens // 2))
