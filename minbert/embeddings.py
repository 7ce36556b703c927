"""Embeddings that are quick to make, and word embeddings whose gradient costs what a batch's words cost, not the vocabulary's."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Embeddings(nn.Embedding):
    """Embeddings that draw no first values where they hold none: for torch's ``meta`` device that imports its compiler, for seconds."""

    def reset_parameters(self) -> None:
        if not self.weight.is_meta:
            super().reset_parameters()


class WordEmbeddings(Embeddings):
    """Word embeddings whose gradient is kept between steps and cleared row by row."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__(rows, width)
        self._touched: list[Tensor] = []

    def forward(self, ids: Tensor) -> Tensor:
        return _RowGradients.apply(self.weight, ids, self)  # type: ignore[no-untyped-call, no-any-return]

    def add_gradient(self, ids: Tensor, gradient: Tensor) -> None:
        """Add (tokens, width) gradients to the rows of their ids."""
        if self.weight.grad is None:
            self.weight.grad = torch.zeros_like(self.weight)
        self.weight.grad.index_add_(0, ids, gradient.to(self.weight.dtype))
        self._touched.append(ids)

    def take_gradient(self) -> tuple[Tensor, Tensor]:
        """(rows,) ascending ids that have a gradient, and that (rows, width) gradient; then clear it.

        A gradient set from outside is not looked at.
        """
        if not self._touched:
            return torch.empty(0, dtype=torch.int64, device=self.weight.device), self.weight.new_empty(
                0, self.weight.shape[1]
            )
        assert self.weight.grad is not None
        ids = torch.cat(self._touched).unique()
        rows = self.weight.grad[ids]
        self.clear_gradient()
        return ids, rows

    def clear_gradient(self) -> None:
        """Set the rows that have a gradient back to zero; a gradient set from outside is dropped."""
        if self.weight.grad is None or not self._touched:
            self.weight.grad = None
        for ids in self._touched:
            assert self.weight.grad is not None
            self.weight.grad.index_fill_(0, ids, 0.0)
        self._touched.clear()


class _RowGradients(torch.autograd.Function):
    """Embedding look-up whose backward pass adds to the rows of a standing gradient.

    The usual backward makes, fills and adds a gradient of the whole vocabulary at every
    step, which costs more than a layer of a small encoder.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, owner: WordEmbeddings) -> Tensor:
        ctx.ids, ctx.owner = ids, owner
        return F.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[None, None, None]:
        ctx.owner.add_gradient(ctx.ids, outputs[0])
        return None, None, None
