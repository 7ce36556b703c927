"""Loss functions of the tasks, one per kind."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from minbert.config import TaskConfig


def task_loss(task: TaskConfig, outputs: Tensor, labels: Tensor) -> Tensor:
    """Mean loss of a batch.

    Classification: cross-entropy. Binary: binary cross-entropy on logits. Regression: mean
    squared error in label units, or with scaled targets that of labels mapped to −1…1.

    Args:
        task: the task that the outputs belong to.
        outputs: (batch, classes) logits, or (batch,) logits or values in label units.
        labels: (batch,) labels as floats.

    Raises:
        ValueError: a (batch, 1) output, which would silently broadcast against (batch,) labels.
    """
    if task.kind == "classification":
        return F.cross_entropy(outputs, labels.long())
    if outputs.shape != labels.shape:
        raise ValueError(f"outputs {tuple(outputs.shape)} and labels {tuple(labels.shape)} differ in shape")
    if task.kind == "binary":
        return F.binary_cross_entropy_with_logits(outputs, labels)
    error = F.mse_loss(outputs, labels)
    low, high = task.label_range
    return error / ((high - low) / 2) ** 2 if task.targets == "scaled" else error
