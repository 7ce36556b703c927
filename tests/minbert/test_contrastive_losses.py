"""Contrastive losses against plain loops in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from minbert.contrastive_losses import mnr_loss, simcse_loss, supervised_simcse_loss

N = 6


@pytest.fixture
def vectors() -> Tensor:
    """(3, batch, hidden): lengths differ, so that a cosine is no dot product."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, N, 8, generator=generator, dtype=torch.float64) * torch.arange(1.0, N + 1)[:, None]


def dot(u: Sequence[float], v: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(u, v, strict=True))


def cosine(u: Sequence[float], v: Sequence[float]) -> float:
    return dot(u, v) / math.hypot(*u) / math.hypot(*v)


def close(loss: Tensor, expected: float) -> bool:
    return loss.item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_simcse_is_equation_4_of_the_paper(vectors: Tensor, temperature: float) -> None:
    first, second, _ = vectors.tolist()
    rows = []
    for i, u in enumerate(first):
        terms = [math.exp(cosine(u, v) / temperature) for v in second]
        rows.append(-math.log(terms[i] / sum(terms)))
    assert close(simcse_loss(vectors[0], vectors[1], temperature), sum(rows) / N)


def test_simcse_does_not_depend_on_the_lengths_of_vectors(vectors: Tensor) -> None:
    scales = torch.arange(1.0, N + 1)[:, None]
    torch.testing.assert_close(
        simcse_loss(vectors[0] * scales, vectors[1], 0.05), simcse_loss(vectors[0], vectors[1] / scales, 0.05)
    )


def supervised(vectors: Tensor, temperature: float, alpha: float, same: set[tuple[int, int]]) -> float:
    """Equation 5 with α; pairs of ``same`` (row, column of the 2N candidates) are not in the sum."""
    sentence, positive, negative = vectors.tolist()
    rows = []
    for i, h in enumerate(sentence):
        total = 0.0
        for j in range(N):
            if i == j or (i, j) not in same:
                total += math.exp(cosine(h, positive[j]) / temperature)
            if (i, N + j) not in same:
                weight = alpha if i == j else 1.0
                total += weight * math.exp(cosine(h, negative[j]) / temperature)
        rows.append(-math.log(math.exp(cosine(h, positive[i]) / temperature) / total))
    return sum(rows) / N


@pytest.mark.parametrize("alpha", [1.0, 0.25, 8.0])
@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_supervised_simcse_is_equation_5_with_alpha_on_a_sentences_own_negative(
    vectors: Tensor, temperature: float, alpha: float
) -> None:
    found = supervised_simcse_loss(vectors[0], vectors[1], vectors[2], temperature, alpha)
    assert close(found, supervised(vectors, temperature, alpha, set()))


def test_supervised_simcse_leaves_out_what_is_the_positive_once_more(vectors: Tensor) -> None:
    pairs = {(0, 0), (1, 1), (0, 3), (0, N), (2, N + 4), (5, N + 5), (1, N + 2)}
    same = torch.zeros(N, 2 * N, dtype=torch.bool)
    for row, column in pairs:
        same[row, column] = True
    before = same.clone()
    found = supervised_simcse_loss(vectors[0], vectors[1], vectors[2], 0.5, 3.0, same)
    assert close(found, supervised(vectors, 0.5, 3.0, pairs))
    assert not close(found, supervised(vectors, 0.5, 3.0, set()))
    assert same.equal(before)


@pytest.mark.parametrize("pairs", [set(), {(0, 0), (0, 4), (4, 0), (4, 4), (2, 5)}])
def test_mnr_is_the_cross_entropy_of_raw_dot_products_in_one_direction(
    vectors: Tensor, pairs: set[tuple[int, int]]
) -> None:
    vectors = vectors / 4  # dot products that a plain exponential bears
    first, second, _ = vectors.tolist()
    same = torch.zeros(N, N, dtype=torch.bool)
    for row, column in pairs:
        same[row, column] = True
    rows = []
    for i, x in enumerate(first):
        total = sum(math.exp(dot(x, y)) for j, y in enumerate(second) if i == j or (i, j) not in pairs)
        rows.append(-math.log(math.exp(dot(x, second[i])) / total))
    assert close(mnr_loss(vectors[0], vectors[1], same if pairs else None), sum(rows) / N)
    assert not close(mnr_loss(vectors[1], vectors[0], same if pairs else None), sum(rows) / N)
