"""Self-attention over packed sequences, behind one function with several back ends.

Sequences of one batch lie end to end, sorted by length, without padding. A back end
gathers neighbours of similar length into small padded chunks, so that almost nothing is
computed for padding:

* ``bmm``: matrix products and a softmax, in fp32; fastest on a CPU, where the backward pass
  of the fused kernel is slow in bf16, and where bf16 products of ever new small shapes
  cost more to set up than to compute.
* ``sdpa``: ``scaled_dot_product_attention`` on the same chunks; for GPUs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from minbert.dropout import DropoutStream

AttentionBackend = Literal["bmm", "sdpa"]

_GROWTH = 1.25  # a chunk's longest sequence is at most this much longer than its shortest
_SLACK = 4  # … or this many tokens


@dataclass(frozen=True)
class Chunk:
    """A run of sequences that attend together.

    Attributes:
        start, stop: the tokens of the batch that it covers.
        sequences, length: shape of the padded chunk.
        gather: (sequences · length,) token of each padded position; None if nothing is padded.
        scatter: (stop − start,) padded position of each token; None if nothing is padded.
        mask: (sequences, 1, 1, length) added to the scores: 0, or −inf at padding; or None.
    """

    start: int
    stop: int
    sequences: int
    length: int
    gather: Tensor | None
    scatter: Tensor | None
    mask: Tensor | None


def plan_chunks(lengths: Sequence[int], device: torch.device) -> tuple[Chunk, ...]:
    """Cut sequences of ascending ``lengths`` into chunks of similar length."""
    chunks: list[Chunk] = []
    first = token = 0
    for index in range(1, len(lengths) + 1):
        limit = max(lengths[first] * _GROWTH, lengths[first] + _SLACK)
        if index == len(lengths) or lengths[index] > limit:
            chunks.append(_chunk(lengths[first:index], token, device))
            token = chunks[-1].stop
            first = index
    return tuple(chunks)


def _chunk(lengths: Sequence[int], start: int, device: torch.device) -> Chunk:
    total, longest = sum(lengths), lengths[-1]
    if lengths[0] == longest:
        return Chunk(start, start + total, len(lengths), longest, None, None, None)
    sizes = torch.tensor(lengths)
    starts = sizes.cumsum(0) - sizes
    column = torch.arange(longest)
    real = column < sizes[:, None]
    gather = torch.where(real, starts[:, None] + column, starts[:, None]).flatten()
    mask = torch.zeros(real.shape).masked_fill_(~real, -torch.inf)
    return Chunk(
        start,
        start + total,
        len(lengths),
        longest,
        gather.to(device),
        real.flatten().nonzero().squeeze(1).to(device),
        mask[:, None, None, :].to(device),
    )


def attend(
    qkv: Tensor,
    heads: int,
    chunks: Sequence[Chunk],
    dropout: DropoutStream,
    rate: float,
    backend: AttentionBackend,
) -> Tensor:
    """Scaled dot-product attention inside every sequence of a packed batch.

    Args:
        qkv: (tokens, 3 · hidden) queries, keys and values side by side.
        heads: number of attention heads.
        chunks: the plan of :func:`plan_chunks` for the batch's lengths.
        dropout, rate: stream and rate of the dropout on attention probabilities.
        backend: which implementation computes a chunk.

    Returns:
        (tokens, hidden) contexts.
    """
    compute = _BACKENDS[backend]
    hidden = qkv.shape[1] // 3
    contexts = []
    # One split, not slices: its backward pass writes one gradient instead of one per chunk.
    parts = qkv.split([chunk.stop - chunk.start for chunk in chunks])
    for chunk, part in zip(chunks, parts, strict=True):
        padded = part if chunk.gather is None else part.index_select(0, chunk.gather)
        padded = padded.view(chunk.sequences, chunk.length, 3, heads, hidden // heads)
        query, key, value = padded.permute(2, 0, 3, 1, 4).unbind(0)
        context = compute(query, key, value, chunk.mask, dropout, rate)
        context = context.transpose(1, 2).reshape(chunk.sequences * chunk.length, hidden)
        contexts.append(context if chunk.scatter is None else context.index_select(0, chunk.scatter))
    return torch.cat(contexts) if len(contexts) > 1 else contexts[0]


def _bmm(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: DropoutStream, rate: float
) -> Tensor:
    dtype = query.dtype
    query, key, value = query.float(), key.float() * (1 / math.sqrt(query.shape[-1])), value.float()
    scores = query @ key.transpose(-1, -2)
    if mask is not None:
        scores = scores + mask
    return (dropout(torch.softmax(scores, -1), rate) @ value).to(dtype)


def _sdpa(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: DropoutStream, rate: float
) -> Tensor:
    active_rate = rate if dropout.active else 0.0
    bias = None if mask is None else mask.to(query.dtype)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=active_rate)


_BACKENDS: dict[AttentionBackend, Callable[..., Tensor]] = {"bmm": _bmm, "sdpa": _sdpa}
