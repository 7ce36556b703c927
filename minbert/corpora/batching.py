"""From example numbers to one packed batch: special tokens, pairs, truncation."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from minbert.corpora.tokenised import TokenisedCorpus, TokenisedSplit
from minbert.encoder import Packed, pack
from minbert.heads import Inputs


@dataclass(frozen=True)
class Part:
    """One task's examples inside a batch.

    Attributes:
        task: its name.
        sequences: where its vectors stand among the batch's sequences: one slice for joint
            and single inputs, two for separate ones and for both orders.
        labels: (batch,) float32, or None.
    """

    task: str
    sequences: tuple[slice, ...]
    labels: Tensor | None


@dataclass(frozen=True)
class Batch:
    """The sequences of one step and which task they belong to."""

    packed: Packed
    parts: tuple[Part, ...]


class Batcher:
    """Makes batches of any tasks' examples for one encoder pass.

    Args:
        corpus: the tokenised examples.
        inputs: how each task's texts are encoded (see :mod:`minbert.heads`).
        max_length: tokens a sequence, special tokens included.
        device: where batches go.
        multiple: tokens of a batch are rounded up to a multiple of this.
    """

    def __init__(
        self,
        corpus: TokenisedCorpus,
        inputs: Mapping[str, Inputs],
        max_length: int,
        device: torch.device,
        multiple: int = 1,
    ) -> None:
        self._corpus, self._inputs = corpus, inputs
        self._max_length, self._device, self._multiple = max_length, device, multiple
        self._cls = np.array([corpus.cls_id], dtype=np.int32)
        self._sep = np.array([corpus.sep_id], dtype=np.int32)

    def with_inputs(self, inputs: Mapping[str, Inputs]) -> Batcher:
        """The same batcher for other encodings of the tasks' texts."""
        changed = copy.copy(self)
        changed._inputs = inputs
        return changed

    def batch(self, split: str, requests: Sequence[tuple[str, np.ndarray]]) -> Batch:
        """Pack the examples of several tasks; a request names a task and its (batch,) example numbers."""
        sequences: list[np.ndarray] = []
        seconds: list[int] = []
        parts = []
        for task, indices in requests:
            data = self._corpus.splits[task][split]
            slices = []
            for texts in self._encodings(task, data, indices):
                slices.append(slice(len(sequences), len(sequences) + len(texts)))
                sequences += [sequence for sequence, _ in texts]
                seconds += [second for _, second in texts]
            labels = None
            if data.labels is not None:
                labels = torch.from_numpy(data.labels[indices]).to(self._device, non_blocking=True)
            parts.append(Part(task, tuple(slices), labels))
        return Batch(pack(sequences, seconds, self._device, self._multiple), tuple(parts))

    def in_order_of_length(
        self, task: str, split: str, rows: np.ndarray, budget: int
    ) -> Iterator[np.ndarray]:
        """The example numbers ``rows`` of a split in runs of similar length, about ``budget`` tokens each."""
        data = self._corpus.splits[task][split]
        lengths = np.zeros(len(rows), dtype=np.int64)
        for table in data.columns:
            lengths += np.minimum(table.lengths[rows], self._max_length) + 2
        if self._inputs[task] == "both_orders":
            lengths *= 2
        order = np.argsort(lengths, kind="stable")
        bounds = np.cumsum(lengths[order]) // budget
        yield from np.split(rows[order], np.flatnonzero(np.diff(bounds)) + 1)

    def _encodings(
        self, task: str, data: TokenisedSplit, indices: np.ndarray
    ) -> list[list[tuple[np.ndarray, int]]]:
        if self._inputs[task] in ("joint", "both_orders"):
            first, second = data.columns
            pairs = [self._cut(first[i], second[i]) for i in indices]
            orders = [[self._joint(one, two) for one, two in pairs]]
            if self._inputs[task] == "both_orders":
                orders.append([self._joint(two, one) for one, two in pairs])
            return orders
        return [[self._single(table[i]) for i in indices] for table in data.columns]

    def _single(self, tokens: np.ndarray) -> tuple[np.ndarray, int]:
        sequence = np.concatenate([self._cls, tokens[: self._max_length - 2], self._sep])
        return sequence, len(sequence)

    def _cut(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cut once, before the order is chosen: both orders see the same tokens."""
        one, two = truncate_pair(len(first), len(second), self._max_length - 3)
        return first[:one], second[:two]

    def _joint(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, int]:
        sequence = np.concatenate([self._cls, first, self._sep, second, self._sep])
        return sequence, len(first) + 2


def truncate_pair(first: int, second: int, budget: int) -> tuple[int, int]:
    """Lengths of two texts cut to ``budget`` tokens together, always the longer one first."""
    if first + second <= budget:
        return first, second
    shorter = min(first, second)
    if shorter <= budget // 2:
        return (budget - shorter, shorter) if first > second else (shorter, budget - shorter)
    return budget - budget // 2, budget // 2
