"""Heads against their formulas."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest
import torch

from minbert.config import TaskConfig
from minbert.heads import CosineHead, build_head

HIDDEN = 6
U, V = torch.randn(2, 4, HIDDEN, generator=torch.Generator().manual_seed(1))
PAIR = ("sentence1", "sentence2")


def task(kind: str, head: str, **leaves: Any) -> TaskConfig:
    text = ("sentence",) if head == "linear" else PAIR
    return TaskConfig.model_validate(
        {"kind": kind, "head": {"kind": head}, "text": text, "label": "y", **leaves}
    )


def test_a_linear_head_gives_one_logit_a_class() -> None:
    head = build_head(task("classification", "linear", classes=5), HIDDEN)
    assert head.inputs == "single"
    torch.testing.assert_close(head(U), U @ head.output.weight.T + head.output.bias)
    assert head(U).shape == (4, 5)


@pytest.mark.parametrize(("kind", "half", "middle"), [("binary", 1.0, 0.0), ("regression", 1.5, 2.5)])
def test_cross_and_concat_give_one_value_an_example(kind: str, half: float, middle: float) -> None:
    """Regression outputs are stretched from −1…1 onto the label range; binary ones are logits."""
    cross = build_head(task(kind, "cross", label_range=(1.0, 4.0)), HIDDEN)
    assert cross.inputs == "joint"
    torch.testing.assert_close(cross(U), (U @ cross.output.weight[0] + cross.output.bias) * half + middle)
    concat = build_head(task(kind, "concat", label_range=(1.0, 4.0)), HIDDEN)
    assert concat.inputs == "separate"
    a, b, c = concat.output.weight[0].split(HIDDEN)
    expected = (U @ a + V @ b + (U - V).abs() @ c + concat.output.bias) * half + middle
    torch.testing.assert_close(concat(U, V), expected)
    assert cross(U).shape == concat(U, V).shape == (4,)


def test_cosine_regression_maps_opposite_and_equal_vectors_onto_the_ends_of_the_range() -> None:
    head = build_head(task("regression", "cosine", label_range=(1.0, 4.0)), HIDDEN)
    torch.testing.assert_close(head(U, 3 * U), torch.full((4,), 4.0))
    torch.testing.assert_close(head(U, -U), torch.full((4,), 1.0))
    cosine = (U * V).sum(1) / U.norm(dim=1) / V.norm(dim=1)
    torch.testing.assert_close(head(U, V), 2.5 + 1.5 * cosine)
    assert not list(head.parameters())


def test_cosine_binary_is_an_affine_logit_that_can_be_learned() -> None:
    head = build_head(task("binary", "cosine"), HIDDEN)
    assert isinstance(head, CosineHead) and head.inputs == "separate"
    cosine = (U * V).sum(1) / U.norm(dim=1) / V.norm(dim=1)
    torch.testing.assert_close(head(U, V), 5 * cosine)
    head(U, V).sum().backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_pair_classification_has_one_logit_a_class() -> None:
    assert build_head(task("classification", "concat", classes=3), HIDDEN)(U, V).shape == (4, 3)


def test_a_cosine_head_for_classes_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="does not fit a classification task"):
        task("classification", "cosine", classes=3)
