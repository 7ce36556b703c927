"""Gradients through pieces that are encoded one at a time are those of the batch encoded at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from minbert.dropout import DropoutStream
from minbert.gradient_caching import cached_backward


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_the_gradient_is_that_of_one_graph_over_all_pieces_under_the_same_masks(rate: float) -> None:
    torch.manual_seed(0)
    layer, examples = nn.Linear(6, 6).double(), torch.randn(7, 6, dtype=torch.float64)
    dropout = DropoutStream(torch.device("cpu"))
    pieces = list(enumerate(examples.split(3)))

    def encode(piece: tuple[int, Tensor]) -> Tensor:
        number, rows = piece
        dropout.seed(number)
        return dropout(torch.tanh(layer(rows)), rate)

    def loss(vectors: Tensor) -> Tensor:  # every vector meets every other one
        return torch.logsumexp(vectors @ vectors.T, dim=1).sum()

    loss(torch.cat([encode(piece) for piece in pieces])).backward()
    expected = [parameter.grad for parameter in layer.parameters()]
    layer.zero_grad()
    cached_backward(encode, pieces, loss)
    for found, wanted in zip(layer.parameters(), expected, strict=True):
        torch.testing.assert_close(found.grad, wanted)


def test_no_more_than_one_piece_has_a_graph_at_a_time() -> None:
    weight = torch.ones(3, requires_grad=True)
    events: list[str] = []

    def encode(rows: Tensor) -> Tensor:
        vectors = rows * weight
        if vectors.requires_grad:
            events.append("built")
            vectors.register_hook(lambda _: events.append("used"))
        return vectors

    cached_backward(encode, torch.ones(4, 3).split(1), lambda vectors: (vectors**2).sum())
    assert events == ["built", "used"] * 4
