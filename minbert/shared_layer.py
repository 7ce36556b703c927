"""The layer that several heads share, apart from the encoder.

It belongs to the model, and heads are given it in every call: a head that held it too would
store its parameters a second time.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from minbert.dropout import DropoutStream

Sharing = Literal["none", "all", "pairs"]


class SharedLayer(nn.Module):
    """A dense layer at one of the two places where heads offer one; elsewhere it changes nothing.

    Args:
        width: of what it reads.
        hidden: width of its output, the encoder's.
        rate: dropout on its output.
    """

    def __init__(self, width: int, hidden: int, rate: float) -> None:
        super().__init__()
        self.dense = nn.Linear(width, hidden)
        self._rate = rate

    def on_input(self, vector: Tensor, dropout: DropoutStream) -> Tensor:
        """(batch, hidden) input of any head → what the head reads."""
        return vector

    def on_joined(self, features: Tensor, dropout: DropoutStream) -> Tensor:
        """(batch, features) joined inputs of a pair head → what its own layers read."""
        return features


class InputLayer(SharedLayer):
    """Dense and tanh on every input of every head ("common layer", CL; Robust embeddings, section 4)."""

    def on_input(self, vector: Tensor, dropout: DropoutStream) -> Tensor:
        return dropout(torch.tanh(self.dense(vector)), self._rate)


class JoinedLayer(SharedLayer):
    """Dense and ReLU as the pair heads' common first layer (minBERT multi-task learning, section 3)."""

    def on_joined(self, features: Tensor, dropout: DropoutStream) -> Tensor:
        return dropout(torch.relu(self.dense(features)), self._rate)


def build_shared_layer(sharing: Sharing, hidden: int, joined: int, rate: float) -> SharedLayer | None:
    """Make the shared layer that ``shared_layer`` names.

    Args:
        sharing: none, on all inputs, or on the pair heads' joined inputs.
        hidden: width of the encoder.
        joined: width of the pair heads' joined inputs (pairs only).
        rate: dropout on the layer's output.
    """
    if sharing == "all":
        return InputLayer(hidden, hidden, rate)
    return JoinedLayer(joined, hidden, rate) if sharing == "pairs" else None
