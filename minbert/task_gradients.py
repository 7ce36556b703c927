"""Every task's gradient of the shared parameters, and weighted sums of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from minbert.model import MultitaskModel

_OWN = ("heads.", "auxiliary.")


class TaskGradients:
    """Gradients of the parameters that several tasks share, a row a task.

    Of the word embeddings only the rows of a batch's words are kept: the table is half of a
    small encoder, and a batch holds few of its words.
    """

    def __init__(self, model: MultitaskModel) -> None:
        self._model = model
        self._rows = torch.empty(0, 0)
        self._words: list[tuple[Tensor, Tensor]] = []

    def begin(self, tasks: int) -> None:
        """Make room for the gradients of so many tasks."""
        width = sum(parameter.numel() for parameter in self._parameters())
        if self._rows.shape != (tasks, width):
            self._rows = torch.empty(tasks, width, device=self._table.device)
        self._words = [_nothing(self._table)] * tasks

    def take(self, task: int) -> None:
        """Copy the present gradients into the row of a task; a parameter without one has zeros."""
        parameters = self._parameters()
        views = self._rows[task].split([parameter.numel() for parameter in parameters])
        for parameter, view in zip(parameters, views, strict=True):
            if parameter.grad is None:
                view.zero_()
            else:
                view.copy_(parameter.grad.view(-1))
        if self._table.requires_grad:
            self._words[task] = self._model.encoder.embeddings.word_embeddings.take_gradient()

    def gram(self) -> np.ndarray:
        """(tasks, tasks) dot products."""
        words = self._joined_words().flatten(1)
        return (self._rows @ self._rows.T + words @ words.T).double().cpu().numpy()

    def put(self, weights: Sequence[float] | np.ndarray) -> None:
        """Set the parameters' gradients to the sum of the tasks' gradients times ``weights`` (tasks,)."""
        factors = torch.as_tensor(weights, dtype=self._rows.dtype, device=self._rows.device)
        parameters = self._parameters()
        parts = (factors @ self._rows).split([parameter.numel() for parameter in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)
        for (ids, rows), factor in zip(self._words, factors, strict=True):
            if len(ids):
                self._model.encoder.embeddings.word_embeddings.add_gradient(ids, factor * rows)

    @property
    def _table(self) -> Tensor:
        return self._model.encoder.embeddings.word_embeddings.weight

    def _parameters(self) -> list[nn.Parameter]:
        """What the tasks share, without the word embeddings."""
        named = self._model.named_parameters()
        shared = [value for name, value in named if not name.startswith(_OWN) and value.requires_grad]
        return [value for value in shared if value is not self._table]

    def _joined_words(self) -> Tensor:
        """(tasks, rows, width) gradients of all the words that any task has."""
        ids = torch.cat([ids for ids, _ in self._words]).unique()
        joined = self._table.new_zeros(len(self._words), len(ids), self._table.shape[1])
        for task, (own, rows) in enumerate(self._words):
            joined[task, torch.searchsorted(ids, own)] = rows
        return joined


def _nothing(table: Tensor) -> tuple[Tensor, Tensor]:
    ids = torch.empty(0, dtype=torch.int64, device=table.device)
    return ids, table.new_empty(0, table.shape[1])
