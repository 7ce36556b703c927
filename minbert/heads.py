"""Task heads: from pooled sentence vectors to a task's output.

A head names its ``inputs`` (how a task's texts are encoded) and maps the resulting
vectors to (batch,) values, or (batch, classes) for classification. Values are logits
for classification and binary tasks, label units for regression.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minbert.config import TaskConfig

Inputs = Literal["single", "joint", "separate"]


class Head(nn.Module):
    """Base of all heads.

    Attributes:
        inputs: ``single`` sentence, both in one ``joint`` pass, or two ``separate`` passes.
    """

    inputs: Inputs

    def forward(self, *vectors: Tensor) -> Tensor:
        """Map one (joint, single) or two (separate) (batch, hidden) vectors to the task's output."""
        raise NotImplementedError


class LinearHead(Head):
    """One linear layer on one vector: sentence tasks, and pair tasks in a joint pass (cross-encoder)."""

    def __init__(self, task: TaskConfig, hidden: int, inputs: Inputs) -> None:
        super().__init__()
        self.inputs = inputs
        self.output = nn.Linear(hidden, outputs(task))
        self.scale = _Scale(task)

    def forward(self, *vectors: Tensor) -> Tensor:
        return self.scale(self.output(vectors[0]))


class ConcatHead(Head):
    """One linear layer on [u; v; |u − v|] of two separate passes (Reimers and Gurevych 2019)."""

    inputs: Inputs = "separate"

    def __init__(self, task: TaskConfig, hidden: int) -> None:
        super().__init__()
        self.output = nn.Linear(3 * hidden, outputs(task))
        self.scale = _Scale(task)

    def forward(self, *vectors: Tensor) -> Tensor:
        u, v = vectors
        return self.scale(self.output(torch.cat([u, v, (u - v).abs()], dim=1)))


class CosineHead(Head):
    """Cosine of two separate passes: mapped onto the label range, or a learned affine logit."""

    inputs: Inputs = "separate"

    def __init__(self, task: TaskConfig, hidden: int) -> None:
        super().__init__()
        self.scale = _Scale(task)
        self.binary = task.kind == "binary"
        if self.binary:
            self.slope = nn.Parameter(torch.tensor(5.0))
            self.offset = nn.Parameter(torch.tensor(0.0))

    def forward(self, *vectors: Tensor) -> Tensor:
        cosine = F.cosine_similarity(vectors[0], vectors[1], dim=1)
        if self.binary:
            return self.slope * cosine + self.offset
        return self.scale(cosine[:, None])


class _Scale(nn.Module):
    """Squeeze (batch, 1) to (batch,); regression outputs −1…1 become lowest…highest label."""

    def __init__(self, task: TaskConfig) -> None:
        super().__init__()
        low, high = task.label_range
        self.regression = task.kind == "regression"
        self.middle, self.reach = (low + high) / 2, (high - low) / 2

    def forward(self, values: Tensor) -> Tensor:
        if self.regression:
            return values.squeeze(1) * self.reach + self.middle
        return values.squeeze(1) if values.shape[1] == 1 else values


def outputs(task: TaskConfig) -> int:
    """Width of the task's output."""
    return task.classes if task.kind == "classification" else 1


def build_head(task: TaskConfig, hidden: int) -> Head:
    """Make the head that ``task.head`` names for vectors of width ``hidden``."""
    if task.head.kind == "linear":
        return LinearHead(task, hidden, "single")
    if task.head.kind == "cross":
        return LinearHead(task, hidden, "joint")
    if task.head.kind == "concat":
        return ConcatHead(task, hidden)
    return CosineHead(task, hidden)
