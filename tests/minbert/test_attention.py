"""The chunk plan of packed attention, and attention over it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from minbert.attention import AttentionBackend, Chunk, attend, plan_chunks
from minbert.dropout import DropoutStream, kept_scale

CPU = torch.device("cpu")
PLANS = [
    (1,),
    (5, 5, 5),
    (1, 2, 3, 4, 5, 6, 7, 8),
    (3, 3, 9, 9, 10, 40, 41, 50, 51, 128),
    tuple(sorted(np.random.default_rng(0).integers(1, 129, 64).tolist())),
]


@pytest.mark.parametrize("lengths", PLANS)
def test_chunks_cover_every_token_once_and_pad_little(lengths: tuple[int, ...]) -> None:
    chunks = plan_chunks(lengths, CPU)
    assert chunks[0].start == 0 and chunks[-1].stop == sum(lengths)
    assert all(one.stop == two.start for one, two in itertools.pairwise(chunks))
    assert sum(chunk.sequences for chunk in chunks) == len(lengths)
    first = 0
    for chunk in chunks:
        own = lengths[first : first + chunk.sequences]
        assert sum(own) == chunk.stop - chunk.start and max(own) == chunk.length
        assert chunk.length <= max(1.25 * min(own), min(own) + 4)
        first += chunk.sequences
        if chunk.gather is None:
            assert chunk.mask is None and chunk.scatter is None and set(own) == {chunk.length}
            continue
        assert chunk.mask is not None and chunk.scatter is not None
        tokens = torch.arange(chunk.stop - chunk.start)
        assert torch.equal(tokens[chunk.gather][chunk.scatter], tokens)
        real = chunk.mask.view(chunk.sequences, chunk.length) == 0
        assert real.sum(1).tolist() == list(own)


@pytest.mark.parametrize("backend", ["bmm", "sdpa"])
def test_attention_equals_a_plain_loop_in_float64(backend: AttentionBackend) -> None:
    lengths, heads, width = (2, 3, 6, 6, 7, 30), 2, 4
    hidden = heads * width
    qkv = torch.randn(sum(lengths), 3 * hidden, generator=torch.Generator().manual_seed(0))
    found = attend(qkv, heads, plan_chunks(lengths, CPU), DropoutStream(CPU), 0.5, backend)
    torch.testing.assert_close(found, plain(qkv.double(), lengths, heads).float(), atol=1e-5, rtol=0)


def plain(qkv: Tensor, lengths: tuple[int, ...], heads: int, masks: list[Tensor] | None = None) -> Tensor:
    """A loop over sequences and heads; ``masks`` are factors of the attention probabilities."""
    hidden = qkv.shape[1] // 3
    width = hidden // heads
    rows = []
    for number, sequence in enumerate(qkv.split(list(lengths))):
        parts = []
        for head in range(heads):
            columns = slice(head * width, (head + 1) * width)
            query, key, value = (part[:, columns] for part in sequence.split(hidden, dim=1))
            shares = torch.softmax(query @ key.T / width**0.5, dim=1)
            parts.append((shares if masks is None else shares * masks[number][head]) @ value)
        rows.append(torch.cat(parts, dim=1))
    return torch.cat(rows)


def test_gradients_equal_autograds_of_the_plain_loop_under_the_same_masks() -> None:
    """Also where a chunk is padded: lengths 6, 6 and 7 stand in one."""
    lengths, heads, rate = (2, 3, 6, 6, 7, 30), 2, 0.25
    qkv = torch.randn(sum(lengths), 24, generator=torch.Generator().manual_seed(2)).requires_grad_()
    plan = plan_chunks(lengths, CPU)
    assert any(chunk.gather is not None for chunk in plan)
    masks = drawn_masks(plan, heads, rate)
    stream = DropoutStream(CPU)
    stream.seed(4)
    spread = torch.randn(sum(lengths), 8, generator=torch.Generator().manual_seed(3))
    found = attend(qkv, heads, plan, stream, rate, "bmm")
    expected = plain(qkv.double(), lengths, heads, masks)
    torch.testing.assert_close(found, expected.float(), atol=1e-5, rtol=0)
    for states in (found, expected):
        qkv.grad, before = None, qkv.grad
        (states * spread).sum().backward()
    assert before is not None and qkv.grad is not None
    torch.testing.assert_close(before, qkv.grad, atol=1e-5, rtol=1e-4)


def drawn_masks(plan: tuple[Chunk, ...], heads: int, rate: float) -> list[Tensor]:
    """Every sequence's (heads, length, length) factors, as the stream of seed 4 draws them for all chunks at once."""
    stream = DropoutStream(CPU)
    stream.seed(4)
    drawn = stream.mask(heads * sum(chunk.sequences * chunk.length**2 for chunk in plan), rate)
    assert drawn is not None
    masks, done = [], 0
    for chunk in plan:
        shape = (chunk.sequences, heads, chunk.length, chunk.length)
        part = drawn[done : done + chunk.sequences * heads * chunk.length**2].view(shape)
        done += part.numel()
        real = torch.ones(chunk.sequences, chunk.length) if chunk.mask is None else chunk.mask[:, 0, 0] == 0
        sizes = real.sum(1).int().tolist()
        masks += [kept[:, :n, :n].double() * kept_scale(rate) for kept, n in zip(part, sizes, strict=True)]
    return masks


@pytest.mark.parametrize("backend", ["bmm", "sdpa"])
def test_a_sequence_attends_the_same_whatever_stands_beside_it(backend: AttentionBackend) -> None:
    lengths = (4, 5, 6, 8, 20, 21)
    qkv = torch.randn(sum(lengths), 24, generator=torch.Generator().manual_seed(1))
    stream = DropoutStream(CPU)
    together = attend(qkv, 2, plan_chunks(lengths, CPU), stream, 0.0, backend)
    alone = [
        attend(part, 2, plan_chunks((len(part),), CPU), stream, 0.0, backend)
        for part in qkv.split(list(lengths))
    ]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-6, rtol=1e-5)


def test_attention_probabilities_are_dropped_in_both_back_ends() -> None:
    qkv = torch.ones(400, 6)
    stream = DropoutStream(CPU)
    for backend in ("bmm", "sdpa"):
        stream.seed(3)
        context = attend(qkv, 1, plan_chunks((400,), CPU), stream, 0.25, backend)  # type: ignore[arg-type]
        assert context.std() > 0.01
        assert abs(context.mean() - 1) < 0.01
