"""Losses against plain loops in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from minbert.config import TaskConfig
from minbert.losses import task_loss

GENERATOR = torch.Generator().manual_seed(0)


def task(kind: str, **leaves: Any) -> TaskConfig:
    of_kind = {"classes": 5} if kind == "classification" else {}
    return TaskConfig.model_validate(
        {"kind": kind, "head": {"kind": "linear"}, "text": ["a"], "label": "y", **of_kind, **leaves}
    )


def test_classification_is_the_mean_negative_log_softmax() -> None:
    logits = torch.randn(6, 5, generator=GENERATOR, dtype=torch.float64) * 3
    labels = torch.tensor([0.0, 4, 2, 2, 1, 3])
    rows = [
        math.log(sum(math.exp(v) for v in row)) - row[int(label)]
        for row, label in zip(logits.tolist(), labels, strict=True)
    ]
    found = task_loss(task("classification"), logits, labels).item()
    assert found == pytest.approx(sum(rows) / 6, abs=1e-12)


def test_binary_is_the_mean_cross_entropy_of_the_logistic() -> None:
    logits = torch.randn(7, generator=GENERATOR, dtype=torch.float64) * 3
    labels = torch.tensor([0, 1, 1, 0, 1, 0, 0], dtype=torch.float64)
    rows = []
    for logit, label in zip(logits.tolist(), labels.tolist(), strict=True):
        p = 1 / (1 + math.exp(-logit))
        rows.append(-math.log(p) if label else -math.log(1 - p))
    assert task_loss(task("binary"), logits, labels).item() == pytest.approx(sum(rows) / 7, abs=1e-12)


@pytest.mark.parametrize("low", [0.0, 1.0])
def test_regression_on_raw_targets_is_the_mean_squared_error_in_label_units(low: float) -> None:
    given = task("regression", targets="raw", label_range=(low, 5.0))
    values, labels = torch.tensor([1.0, 2.5, 4.0]), torch.tensor([0.0, 2.0, 5.0])
    assert task_loss(given, values, labels).item() == pytest.approx((1 + 0.25 + 1) / 3)


@pytest.mark.parametrize("label_range", [(0.0, 5.0), (1.0, 4.0), (-1.0, 1.0)])
def test_regression_on_scaled_targets_is_the_error_of_both_mapped_to_minus_one_to_one(
    label_range: tuple[float, float],
) -> None:
    low, high = label_range
    values = torch.randn(9, generator=GENERATOR, dtype=torch.float64) * 2 + low
    labels = torch.rand(9, generator=GENERATOR, dtype=torch.float64) * (high - low) + low

    def mapped(value: float) -> float:
        return -1 + 2 * (value - low) / (high - low)

    rows = [(mapped(a) - mapped(b)) ** 2 for a, b in zip(values.tolist(), labels.tolist(), strict=True)]
    found = task_loss(task("regression", label_range=label_range), values, labels).item()
    assert found == pytest.approx(sum(rows) / 9, abs=1e-12)


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_a_column_that_would_broadcast_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match=r"\(4, 1\).*\(4,\)"):
        task_loss(task(kind), torch.zeros(4, 1), torch.zeros(4))
