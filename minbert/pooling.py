"""One vector a sequence from the hidden states of its tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from minbert.config import Pooling
from minbert.encoder import BertEncoder, Packed


def pool(states: Tensor, batch: Packed, kind: Pooling, encoder: BertEncoder) -> Tensor:
    """Pool packed states.

    Args:
        states: (tokens, hidden) last hidden states.
        batch: the packed sequences that they belong to.
        kind: mean over all tokens, the first token's state (cls), or BERT's pooler on it.
        encoder: owner of the pooler.

    Returns:
        (sequences, hidden) fp32 vectors in the order in which the sequences were given.
    """
    if kind == "mean":
        sums = states.new_zeros(len(batch.lengths), states.shape[1], dtype=torch.float32)
        sums = sums.index_add(0, batch.owners, states.float())
        vectors = sums / torch.tensor(batch.lengths, device=states.device)[:, None]
    else:
        first = states[batch.starts].float()
        vectors = encoder.pool(first) if kind == "pooler" else first
    return vectors[batch.rows]
