"""Task heads: from pooled sentence vectors to a task's output.

A head names its ``inputs`` (how a task's texts are encoded) and maps the resulting
vectors to (batch,) values, or (batch, classes) for classification. Values are logits
for classification and binary tasks, label units for regression.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minbert.config import HeadKind, TaskConfig
from minbert.dropout import DropoutStream
from minbert.shared_layer import SharedLayer, Sharing

Inputs = Literal["single", "joint", "both_orders", "separate"]


class Head(nn.Module):
    """Base of all heads.

    Attributes:
        inputs: ``single`` sentence, both in one ``joint`` pass, a joint pass in ``both_orders``,
            or two ``separate`` passes.
    """

    def __init__(self, task: TaskConfig) -> None:
        super().__init__()
        self.inputs, _ = _HEADS[task.head.kind]
        self._task = task

    def forward(self, *vectors: Tensor, dropout: DropoutStream, shared: SharedLayer | None = None) -> Tensor:
        """Map vectors to the task's output.

        Args:
            vectors: (batch, hidden) each: one (single, joint) or two (both_orders, separate).
            dropout: stream of dropout masks.
            shared: the layer that the heads share.

        Returns:
            (batch,) values, or (batch, classes) logits.
        """
        raise NotImplementedError


class LayeredHead(Head):
    """Dense layers on one vector or on [u; v; difference]: linear, cross and concat heads.

    Sources: cross and concat heads as in Reimers and Gurevych 2019; hidden layers as in
    "SimCSE on a frozen encoder", section 4.3.
    """

    def __init__(self, task: TaskConfig, hidden: int, sharing: Sharing) -> None:
        super().__init__(task)
        head = task.head
        shared_first = sharing == "pairs" and self.inputs != "single"
        width = hidden if shared_first else joined_width(task, hidden)
        widths = [width] + [hidden] * head.hidden_layers
        self.hidden = nn.ModuleList(nn.Linear(size, hidden) for size in widths[:-1])
        self.output = nn.Linear(widths[-1], _outputs(task))

    def forward(self, *vectors: Tensor, dropout: DropoutStream, shared: SharedLayer | None = None) -> Tensor:
        head = self._task.head
        read = _through(shared, vectors, dropout)
        x = read[0] if len(read) == 1 else torch.cat(_compared(read[0], read[1], self._task), dim=1)
        if shared is not None and self.inputs != "single":
            x = shared.on_joined(x, dropout)
        for layer in self.hidden:
            x = dropout(torch.relu(layer(x)), head.dropout_of_hidden)
        x = self.output(x)
        bounded = head.activation == "tanh"
        return _in_units(self._task, torch.tanh(x) if bounded else x, bounded)


class TwoOrderHead(Head):
    """A linear layer on each order of the pair, and on their difference, joined by another one.

    Source: Robust embeddings, section 4: PH; with a difference DPH; with tanh in between DPHA.
    Without tanh and without a shared layer, a signed difference adds nothing: all is linear.
    """

    def __init__(self, task: TaskConfig, hidden: int, sharing: Sharing) -> None:
        super().__init__(task)
        parts = 2 if task.head.compared_by == "none" else 3
        self.parts = nn.ModuleList(nn.Linear(hidden, _outputs(task)) for _ in range(parts))
        self.join = MeanAtFirst(parts, _outputs(task))

    def forward(self, *vectors: Tensor, dropout: DropoutStream, shared: SharedLayer | None = None) -> Tensor:
        first, second = vectors
        read = _through(shared, _compared(first, second, self._task), dropout)
        z = torch.cat([part(x) for part, x in zip(self.parts, read, strict=True)], dim=1)
        z = torch.tanh(z) if self._task.head.activation == "tanh" else z
        return _in_units(self._task, self.join(z), bounded=False)


class MeanAtFirst(nn.Module):
    """A linear layer (batch, parts · outputs) → (batch, outputs) that starts as the mean of the parts.

    With BERT's small random weights on two or three inputs hardly a gradient would come
    through, and at a fine-tuning rate the weights do not get away from where they start.
    """

    def __init__(self, parts: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(outputs).repeat(1, parts) / parts)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class CosineHead(Head):
    """Cosine of two separate passes: mapped onto the label range, the logit itself, or a learned affine one."""

    def __init__(self, task: TaskConfig, hidden: int, sharing: Sharing) -> None:
        super().__init__(task)
        self.learned = task.kind == "binary" and task.head.learned_scale is not False
        if self.learned:
            # The logit is 10·slope·cos + 10·offset: Adam moves a parameter by about the learning
            # rate a step, so at 1e-5 a plain slope or offset would stay where it starts.
            # The start is a steep decision at a cosine of 0.7.
            self.slope = nn.Parameter(torch.tensor(1.0))
            self.offset = nn.Parameter(torch.tensor(-0.7))

    def forward(self, *vectors: Tensor, dropout: DropoutStream, shared: SharedLayer | None = None) -> Tensor:
        u, v = _through(shared, vectors, dropout)
        cosine = F.cosine_similarity(u, v, dim=1)
        if self.learned:
            return 10 * self.slope * cosine + 10 * self.offset
        return _in_units(self._task, cosine[:, None], bounded=True)


class DotHead(Head):
    """Dot product of two separate passes (baseline of Multi-BERT, section 4.1)."""

    def __init__(self, task: TaskConfig, hidden: int, sharing: Sharing) -> None:
        super().__init__(task)

    def forward(self, *vectors: Tensor, dropout: DropoutStream, shared: SharedLayer | None = None) -> Tensor:
        u, v = _through(shared, vectors, dropout)
        return _in_units(self._task, (u * v).sum(dim=1, keepdim=True), bounded=False)


_HEADS: dict[HeadKind, tuple[Inputs, Callable[[TaskConfig, int, Sharing], Head]]] = {
    "linear": ("single", LayeredHead),
    "cross": ("joint", LayeredHead),
    "two_order": ("both_orders", TwoOrderHead),
    "concat": ("separate", LayeredHead),
    "cosine": ("separate", CosineHead),
    "dot": ("separate", DotHead),
}
"""What every kind of head reads, and its class."""


def build_head(task: TaskConfig, hidden: int, sharing: Sharing = "none") -> Head:
    """Make the head that ``task.head`` names.

    Args:
        task: the task.
        hidden: width of the pooled vectors.
        sharing: the shared layer that it will be called with (pairs: the head's first layer is there).
    """
    _, made = _HEADS[task.head.kind]
    return made(task, hidden, sharing)


def joined_width(task: TaskConfig, hidden: int) -> int:
    """Width of what the layers of a linear, cross or concat head read."""
    assert _HEADS[task.head.kind][1] is LayeredHead, task.head.kind
    if task.head.kind != "concat":
        return hidden
    return 2 * hidden if task.head.compared_by == "none" else 3 * hidden


def _outputs(task: TaskConfig) -> int:
    return task.classes if task.kind == "classification" else 1


def _through(
    shared: SharedLayer | None, vectors: Sequence[Tensor], dropout: DropoutStream
) -> Sequence[Tensor]:
    return vectors if shared is None else [shared.on_input(vector, dropout) for vector in vectors]


def _compared(first: Tensor, second: Tensor, task: TaskConfig) -> list[Tensor]:
    """Both vectors and, where the head wants one, their difference."""
    difference = task.head.compared_by
    if difference == "none":
        return [first, second]
    between = first - second
    return [first, second, between.abs() if difference == "absolute" else between]


def _in_units(task: TaskConfig, values: Tensor, bounded: bool) -> Tensor:
    """(batch, outputs) → logits as they are, (batch,) where there is one; regression in label units.

    What lives in −1…1 (``bounded``) always spans the label range: most labels would be out of its reach.
    """
    if task.kind == "classification":
        return values
    value = values.squeeze(1)
    if task.kind == "binary" or not (bounded or task.targets == "scaled"):
        return value
    low, high = task.label_range
    return value * ((high - low) / 2) + (low + high) / 2
