"""Loss functions: one per task kind, and SimCSE's contrastive loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from minbert.config import TaskKind


def task_loss(kind: TaskKind, outputs: Tensor, labels: Tensor) -> Tensor:
    """Mean loss of a batch.

    Args:
        kind: classification (cross-entropy), binary (binary cross-entropy on logits) or
            regression (mean squared error in label units).
        outputs: (batch, classes) logits, or (batch,) logits or values.
        labels: (batch,) labels as floats.

    Raises:
        ValueError: a (batch, 1) output, which would silently broadcast against (batch,) labels.
    """
    if kind == "classification":
        return F.cross_entropy(outputs, labels.long())
    if outputs.shape != labels.shape:
        raise ValueError(f"outputs {tuple(outputs.shape)} and labels {tuple(labels.shape)} differ in shape")
    if kind == "binary":
        return F.binary_cross_entropy_with_logits(outputs, labels)
    return F.mse_loss(outputs, labels)


def simcse_loss(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Unsupervised SimCSE: each sentence's second encoding is its positive, the batch its negatives.

    Args:
        first, second: (batch, hidden) encodings of the same sentences under two dropout masks.
        temperature: divisor of the cosines.

    Source: Gao, Yao and Chen 2021, equation 4.
    """
    similarity = F.normalize(first, dim=1) @ F.normalize(second, dim=1).T / temperature
    return F.cross_entropy(similarity, torch.arange(len(first), device=first.device))
