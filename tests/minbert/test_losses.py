"""Losses against plain loops in float64."""

from __future__ import annotations

import math

import pytest
import torch

from minbert.losses import simcse_loss, task_loss

GENERATOR = torch.Generator().manual_seed(0)


def test_classification_is_the_mean_negative_log_softmax() -> None:
    logits = torch.randn(6, 5, generator=GENERATOR, dtype=torch.float64) * 3
    labels = torch.tensor([0.0, 4, 2, 2, 1, 3])
    rows = [
        math.log(sum(math.exp(v) for v in row)) - row[int(label)]
        for row, label in zip(logits.tolist(), labels, strict=True)
    ]
    assert task_loss("classification", logits, labels).item() == pytest.approx(sum(rows) / 6, abs=1e-12)


def test_binary_is_the_mean_cross_entropy_of_the_logistic() -> None:
    logits = torch.randn(7, generator=GENERATOR, dtype=torch.float64) * 3
    labels = torch.tensor([0, 1, 1, 0, 1, 0, 0], dtype=torch.float64)
    rows = []
    for logit, label in zip(logits.tolist(), labels.tolist(), strict=True):
        p = 1 / (1 + math.exp(-logit))
        rows.append(-math.log(p) if label else -math.log(1 - p))
    assert task_loss("binary", logits, labels).item() == pytest.approx(sum(rows) / 7, abs=1e-12)


def test_regression_is_the_mean_squared_error() -> None:
    values, labels = torch.tensor([1.0, 2.5, 4.0]), torch.tensor([0.0, 2.0, 5.0])
    assert task_loss("regression", values, labels).item() == pytest.approx((1 + 0.25 + 1) / 3)


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_a_column_that_would_broadcast_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match=r"\(4, 1\).*\(4,\)"):
        task_loss(kind, torch.zeros(4, 1), torch.zeros(4))  # type: ignore[arg-type]


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_simcse_is_equation_4_of_the_paper(temperature: float) -> None:
    first, second = torch.randn(2, 6, 8, generator=GENERATOR, dtype=torch.float64)

    def cosine(u: list[float], v: list[float]) -> float:
        return sum(a * b for a, b in zip(u, v, strict=True)) / math.hypot(*u) / math.hypot(*v)

    rows = []
    for i, u in enumerate(first.tolist()):
        terms = [math.exp(cosine(u, v) / temperature) for v in second.tolist()]
        rows.append(-math.log(terms[i] / sum(terms)))
    assert simcse_loss(first, second, temperature).item() == pytest.approx(sum(rows) / 6, abs=1e-10)


def test_simcse_does_not_depend_on_the_lengths_of_vectors() -> None:
    first, second = torch.randn(2, 6, 8, generator=GENERATOR, dtype=torch.float64)
    scales = torch.arange(1.0, 7.0)[:, None]
    torch.testing.assert_close(
        simcse_loss(first * scales, second, 0.05), simcse_loss(first, second / scales, 0.05)
    )
