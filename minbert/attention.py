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
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from minbert.dropout import DropoutStream, kept_scale

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
        heads: the same by head, for the heads that were asked for so far.
    """

    start: int
    stop: int
    sequences: int
    length: int
    gather: Tensor | None
    scatter: Tensor | None
    mask: Tensor | None
    heads: dict[tuple[int, int], HeadRows] = field(default_factory=dict, compare=False, repr=False)

    def by_head(self, parts: int, heads: int) -> HeadRows:
        """Where the heads' vectors of (tokens, parts · hidden) stand; worked out once, all layers use it."""
        if (parts, heads) not in self.heads:
            self.heads[parts, heads] = _head_rows(self, parts, heads)
        return self.heads[parts, heads]


@dataclass(frozen=True)
class HeadRows:
    """How the vectors of a chunk's heads move between the packed and the padded order.

    Attributes:
        split: (parts · sequences · heads · length,) row of (tokens · parts · heads, width) that stands at each
            padded place; beyond the last one at padding.
        join: (tokens · parts · heads,) padded place of each row.
        mask: (sequences · heads, 1, length) added to the scores, or None.
    """

    split: Tensor
    join: Tensor
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


def _head_rows(chunk: Chunk, parts: int, heads: int) -> HeadRows:
    tokens, length = chunk.stop - chunk.start, chunk.length
    real = torch.arange(tokens) if chunk.scatter is None else chunk.scatter.cpu()
    part, head = torch.arange(parts, dtype=torch.int32), torch.arange(heads, dtype=torch.int32)
    token_at = torch.full((chunk.sequences * length,), tokens, dtype=torch.int32)
    token_at[real] = torch.arange(tokens, dtype=torch.int32)
    rows = token_at.view(chunk.sequences, 1, length) * (parts * heads) + head[:, None]
    split = (rows + part[:, None, None, None] * heads).flatten()
    first = (real // length * (heads * length) + real % length).int()
    places = first[:, None, None] + part[:, None] * (chunk.sequences * heads * length) + head * length
    join = places.flatten()
    mask = None if chunk.mask is None else chunk.mask.squeeze(1).repeat_interleave(heads, 0)
    device = None if chunk.mask is None else chunk.mask.device
    return HeadRows(split.to(device), join.to(device), mask)


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
    if backend == "bmm":
        masks = dropout.mask(heads * sum(c.sequences * c.length**2 for c in chunks), rate)
        scale = 1.0 if masks is None else kept_scale(rate)
        return _Bmm.apply(qkv, heads, chunks, masks, scale)  # type: ignore[no-untyped-call, no-any-return]
    return _sdpa(qkv, heads, chunks, rate if dropout.active else 0.0)


def _sdpa(qkv: Tensor, heads: int, chunks: Sequence[Chunk], rate: float) -> Tensor:
    hidden = qkv.shape[1] // 3
    contexts = []
    # One split, not slices: its backward pass writes one gradient instead of one per chunk.
    parts = qkv.split([chunk.stop - chunk.start for chunk in chunks])
    for chunk, part in zip(chunks, parts, strict=True):
        padded = part if chunk.gather is None else part.index_select(0, chunk.gather)
        padded = padded.view(chunk.sequences, chunk.length, 3, heads, hidden // heads)
        query, key, value = padded.permute(2, 0, 3, 1, 4).unbind(0)
        mask = None if chunk.mask is None else chunk.mask.to(query.dtype)
        context = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=rate)
        context = context.transpose(1, 2).reshape(chunk.sequences * chunk.length, hidden)
        contexts.append(context if chunk.scatter is None else context.index_select(0, chunk.scatter))
    return torch.cat(contexts) if len(contexts) > 1 else contexts[0]


class _Bmm(torch.autograd.Function):
    """Attention in fp32 with its own backward pass, which spares most of the copies between the products."""

    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, heads: int, chunks: Sequence[Chunk], masks: Tensor | None, scale: float
    ) -> Tensor:
        contexts = qkv.new_empty(len(qkv), qkv.shape[1] // 3)
        kept: list[Tensor] = []
        done = 0
        for chunk in chunks:
            query, key, value = _split_heads(qkv, chunk, 3, heads).unbind(0)
            root, mask = 1 / math.sqrt(query.shape[2]), chunk.by_head(3, heads).mask
            if mask is None:
                scores = _product(query, key.transpose(1, 2), root)
            else:
                scores = torch.baddbmm(mask, query, key.transpose(1, 2), alpha=root)
            shares = torch.softmax(scores, -1)
            drawn = None if masks is None else masks[done : done + shares.numel()].view(shares.shape)
            done += shares.numel()
            dropped = shares if drawn is None else torch.mul(shares, drawn.float(), out=scores)
            _join_heads(_product(dropped, value, scale)[None], chunk, contexts)
            kept += [query, key, value, shares, dropped]
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(*kept)
            ctx.rest = (heads, chunks, masks, scale, qkv.shape)
        return contexts

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None, None, None, None]:
        heads, chunks, masks, scale, shape = ctx.rest
        gradient = outputs[0].new_empty(shape)
        done = 0
        for number, chunk in enumerate(chunks):
            query, key, value, shares, dropped = ctx.saved_tensors[5 * number : 5 * number + 5]
            (context,) = _split_heads(outputs[0], chunk, 1, heads)
            of_shares = _product(context, value.transpose(1, 2), scale)
            if masks is not None:
                of_shares.mul_(masks[done : done + shares.numel()].view(shares.shape).float())
            done += shares.numel()
            of_scores = torch.ops.aten._softmax_backward_data(of_shares, shares, -1, torch.float32)
            root = 1 / math.sqrt(query.shape[2])
            of_heads = query.new_empty(3, *query.shape)
            _product(of_scores, key, root, of_heads[0])
            _product(of_scores.transpose(1, 2), query, root, of_heads[1])
            _product(dropped.transpose(1, 2), context, scale, of_heads[2])
            _join_heads(of_heads, chunk, gradient)
        return gradient, None, None, None, None


def _product(a: Tensor, b: Tensor, factor: float, out: Tensor | None = None) -> Tensor:
    """factor · a @ b of batches of matrices."""
    return torch.baddbmm(a.new_empty(()), a, b, beta=0, alpha=factor, out=out)


def _split_heads(x: Tensor, chunk: Chunk, parts: int, heads: int) -> Tensor:
    """A chunk of (tokens, parts · hidden), in fp32 by head: (parts, sequences · heads, length, width), 0 at padding."""
    rows = x[chunk.start : chunk.stop]
    if chunk.scatter is not None:  # zeros, not neighbours: a gradient has none at the padding
        rows = torch.cat([rows, rows.new_zeros(1, x.shape[1])])
    width = x.shape[1] // (parts * heads)
    found = rows.reshape(-1, width).index_select(0, chunk.by_head(parts, heads).split)
    return found.float().view(parts, chunk.sequences * heads, chunk.length, width)


def _join_heads(by_head: Tensor, chunk: Chunk, out: Tensor) -> None:
    """Write what :func:`_split_heads` split, without the padding, into a chunk's rows of ``out``."""
    parts, _, _, width = by_head.shape
    heads = by_head.shape[1] // chunk.sequences
    rows = out[chunk.start : chunk.stop].view(-1, width)
    places = chunk.by_head(parts, heads).join
    torch.index_select(by_head.to(out.dtype).view(-1, width), 0, places, out=rows)
