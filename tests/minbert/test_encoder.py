"""The encoder computes what transformers.BertModel computes on the same weights."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor

from minbert.attention import AttentionBackend
from minbert.checkpoint import load_encoder, open_encoder
from minbert.dropout import DropoutStream
from minbert.encoder import BertEncoder, pack
from minbert.pooling import pool

LENGTHS = (7, 3, 20, 1, 12, 7, 13)
TOLERANCE = 1e-5

Padded = tuple[Tensor, Tensor, Tensor]


@pytest.fixture(params=["random", "named by ENCODER"])
def folder(request: pytest.FixtureRequest, tiny_encoder: Path) -> Path:
    if request.param == "random":
        return tiny_encoder
    if "ENCODER" not in os.environ:
        pytest.skip("the environment variable ENCODER names no checkpoint folder")
    return Path(os.environ["ENCODER"])


def both(folder: Path) -> tuple[BertEncoder, transformers.BertModel]:
    files = open_encoder(folder)
    reference = transformers.BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    return load_encoder(files.config, files.weights()), reference


def padded_batch(vocabulary: int, seed: int = 0) -> Padded:
    """Random ids, mask and token types; some rows with, some without a second segment."""
    rng = np.random.default_rng(seed)
    ids = np.zeros((len(LENGTHS), max(LENGTHS)), dtype=np.int64)
    mask, kinds = np.zeros_like(ids), np.zeros_like(ids)
    for row, length in enumerate(LENGTHS):
        # Not 0: transformers gives the padding word no gradient, and text never holds it.
        ids[row, :length] = rng.integers(1, vocabulary, length)
        mask[row, :length] = 1
        kinds[row, rng.integers(1, length + 1) : length] = 1
    return torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(kinds)


def packed_states(encoder: BertEncoder, padded: Padded, backend: AttentionBackend) -> list[Tensor]:
    """States of each sequence, from a packed pass."""
    ids, mask, kinds = padded
    sequences = [row[:n].numpy() for row, n in zip(ids, mask.sum(1), strict=True)]
    seconds = [int(n - row.sum()) for row, n in zip(kinds, mask.sum(1), strict=True)]
    batch = pack(sequences, seconds)
    by_length = encoder(batch, backend=backend).split(list(batch.lengths))
    return [by_length[row] for row in batch.rows.tolist()]


def test_padded_states_equal_transformers(folder: Path) -> None:
    encoder, reference = both(folder)
    ids, mask, kinds = padded_batch(encoder.config.vocab_size)
    with torch.inference_mode():
        expected = reference(ids, mask, kinds).last_hidden_state
        found = encoder.forward_padded(ids, mask, kinds)
    real = mask.bool()
    torch.testing.assert_close(found[real], expected[real], atol=TOLERANCE, rtol=0)
    assert not found[~real].any()


@pytest.mark.parametrize("backend", ["bmm", "sdpa"])
def test_packed_states_equal_transformers(folder: Path, backend: AttentionBackend) -> None:
    encoder, reference = both(folder)
    padded = padded_batch(encoder.config.vocab_size, seed=1)
    with torch.inference_mode():
        expected = reference(*padded).last_hidden_state
        found = packed_states(encoder, padded, backend)
    for row, states in enumerate(found):
        torch.testing.assert_close(states, expected[row, : LENGTHS[row]], atol=TOLERANCE, rtol=0)


def test_token_types_matter(tiny_encoder: Path) -> None:
    encoder, _ = both(tiny_encoder)
    sequence = np.arange(5, 15)
    with torch.inference_mode():
        one, two = encoder(pack([sequence], [10])), encoder(pack([sequence], [4]))
    assert not torch.allclose(one, two, atol=1e-3)


@pytest.mark.parametrize("backend", ["bmm", "sdpa"])
def test_gradients_equal_transformers_over_two_steps(tiny_encoder: Path, backend: AttentionBackend) -> None:
    """The second step finds the standing gradient of the word embeddings that the first one left."""
    encoder, reference = both(tiny_encoder)
    for seed in (2, 3):
        padded = padded_batch(encoder.config.vocab_size // (seed - 1), seed)
        spread = torch.randn(len(LENGTHS), max(LENGTHS), 32, generator=torch.Generator().manual_seed(seed))
        reference.zero_grad()
        output = reference(*padded)
        (output.last_hidden_state * spread * padded[1][..., None]).sum().backward(retain_graph=True)
        output.pooler_output.pow(2).sum().backward()
        encoder.clear_gradients()
        states = packed_states(encoder, padded, backend)
        weighted = [(part * spread[row, : len(part)]).sum() for row, part in enumerate(states)]
        pooled = encoder.pool(torch.stack([part[0] for part in states])).pow(2).sum()
        (torch.stack(weighted).sum() + pooled).backward()
        expected = dict(reference.named_parameters())
        for name, parameter in encoder.named_parameters():
            assert parameter.grad is not None
            torch.testing.assert_close(
                parameter.grad,
                expected[name].grad,
                atol=2e-4,
                rtol=1e-4,
                msg=lambda text, n=name: f"{n}: {text}",
            )


def test_word_gradients_add_up_until_they_are_cleared(tiny_encoder: Path) -> None:
    encoder, _ = both(tiny_encoder)
    batch = pack([np.array([5, 6, 6])], [3])
    words = encoder.embeddings.word_embeddings.weight
    encoder(batch)[:, 0].sum().backward()
    assert words.grad is not None
    once = words.grad.clone()
    assert once[5].any() and once[6].any() and not once[7].any()
    encoder(batch)[:, 0].sum().backward()
    torch.testing.assert_close(words.grad, 2 * once)
    encoder.clear_gradients()
    assert words.grad is None or not words.grad.any()


def test_a_word_gradient_set_from_outside_is_dropped_when_cleared(tiny_encoder: Path) -> None:
    encoder, _ = both(tiny_encoder)
    words = encoder.embeddings.word_embeddings.weight
    words.grad = torch.ones_like(words)
    encoder.clear_gradients()
    assert words.grad is None


def test_a_frozen_encoder_collects_no_gradients(tiny_encoder: Path) -> None:
    encoder, _ = both(tiny_encoder)
    encoder.requires_grad_(False)
    assert not encoder(pack([np.array([5, 6])], [2])).requires_grad


def test_an_offset_does_what_moving_the_word_embeddings_does(tiny_encoder: Path) -> None:
    """Every word stands once in the batch, so each token's offset can be added to its word's row instead."""
    (encoder, _), (moved, _) = both(tiny_encoder), both(tiny_encoder)
    batch = pack([np.arange(5, 17), np.arange(20, 25), np.arange(30, 38)], [12, 2, 8], multiple=26)
    assert batch.filler == 1
    offset = 0.3 * torch.randn(len(batch.ids), 32, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        moved.embeddings.word_embeddings.weight[batch.ids] += offset
    offset.requires_grad_()
    states, expected = encoder(batch, offset=offset), moved(batch)
    torch.testing.assert_close(states, expected, atol=TOLERANCE, rtol=0)
    assert not torch.allclose(states, encoder(batch), atol=1e-2)
    for found in (states, expected):
        (found * torch.linspace(-1, 1, 32)).sum().backward()
    rows = moved.embeddings.word_embeddings.weight.grad
    assert offset.grad is not None and rows is not None
    torch.testing.assert_close(offset.grad, rows[batch.ids], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["mean", "cls", "pooler"])
def test_pooling_equals_its_definition_in_the_order_given(folder: Path, kind: str) -> None:
    encoder, reference = both(folder)
    ids, mask, kinds = padded_batch(encoder.config.vocab_size, seed=4)
    sequences = [row[:n].numpy() for row, n in zip(ids, LENGTHS, strict=True)]
    batch = pack(sequences, [int(n - row.sum()) for row, n in zip(kinds, LENGTHS, strict=True)])
    with torch.inference_mode():
        output = reference(ids, mask, kinds)
        found = pool(encoder(batch), batch, kind, encoder)  # type: ignore[arg-type]
    weights = mask[..., None].float()
    expected = {
        "mean": (output.last_hidden_state * weights).sum(1) / weights.sum(1),
        "cls": output.last_hidden_state[:, 0],
        "pooler": output.pooler_output,
    }[kind]
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)


def test_bf16_states_are_near_those_in_fp32(tiny_encoder: Path) -> None:
    encoder, _ = both(tiny_encoder)
    batch = pack([np.arange(5, 25), np.arange(5, 12)], [20, 7])
    with torch.inference_mode():
        exact, rough = encoder(batch), encoder(batch, dtype=torch.bfloat16)
    assert rough.dtype == torch.bfloat16
    assert 0 < (exact - rough.float()).abs().max() < 0.15


@pytest.mark.parametrize("backend", ["bmm", "sdpa"])
def test_encoder_dropout_depends_on_the_seed_alone(tiny_encoder: Path, backend: AttentionBackend) -> None:
    encoder, _ = both(tiny_encoder)
    batch = pack([np.arange(5, 25)] * 3, [20] * 3)
    stream = DropoutStream(torch.device("cpu"))

    def states(seed: int) -> Tensor:
        stream.seed(seed)
        with torch.inference_mode():
            return encoder(batch, dropout=stream, rate=0.3, backend=backend)

    first = states(1)
    torch.rand(5)  # somebody else's draws change nothing
    assert torch.equal(first, states(1))
    assert not torch.allclose(first, states(2), atol=1e-2)
    stream.stop()
    with torch.inference_mode():
        still = encoder(batch, dropout=stream, rate=0.3, backend=backend)
    torch.testing.assert_close(still[:20], still[20:40])
