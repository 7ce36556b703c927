"""Gradients of a loss over a whole batch, of which only a piece is encoded with a graph at a time.

Every piece is encoded twice: without a graph for the loss, whose gradient reaches the vectors alone, and
again with a graph, through which that gradient goes on. Memory is that of one piece besides the vectors.

Source: Gao, Zhang, Han and Callan 2021, "Scaling deep contrastive learning batch size under memory limited
setup".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

Piece = TypeVar("Piece")


def cached_backward(
    encode: Callable[[Piece], Tensor], pieces: Sequence[Piece], loss: Callable[[Tensor], Tensor]
) -> None:
    """Add the gradients of ``loss`` of all pieces' vectors to the parameters.

    Args:
        encode: a piece's vectors, (examples, …); both times the same, so it seeds its own dropout.
        pieces: what is encoded, in the order of the batch.
        loss: scalar of all vectors (batch, …).
    """
    with torch.no_grad():
        parts = [encode(piece) for piece in pieces]
    vectors = torch.cat(parts).requires_grad_()
    loss(vectors).backward()
    assert vectors.grad is not None
    for piece, gradient in zip(pieces, vectors.grad.split([len(part) for part in parts]), strict=True):
        encode(piece).backward(gradient)
