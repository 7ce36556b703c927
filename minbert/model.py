"""One encoder, pooling, an optional shared layer, and one head per task."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from minbert.attention import AttentionBackend
from minbert.checkpoint import load_encoder
from minbert.config import TrainConfig
from minbert.corpora.batching import Batch
from minbert.devices import Compute
from minbert.dropout import DropoutStream
from minbert.encoder import BertEncoder, EncoderConfig, Packed
from minbert.heads import Head, build_head
from minbert.pooling import pool
from minbert.seeds import stream_seed


class MultitaskModel(nn.Module):
    """The model of one trial.

    Attributes:
        encoder: the shared BERT.
        shared: dense + tanh that every head reads the pooled vectors through, or None.
        heads: one per task.
        dropout: stream of all dropout masks; seeded by the training loop for every step.
        token_multiple: what the tokens of a batch are best rounded up to.
    """

    def __init__(self, config: TrainConfig, encoder: BertEncoder) -> None:
        super().__init__()
        hidden = encoder.config.hidden_size
        self.encoder = encoder
        self.shared = nn.Linear(hidden, hidden) if config.shared_layer else None
        self.heads = nn.ModuleDict({name: build_head(task, hidden) for name, task in config.tasks.items()})
        self._pooling = config.pooling
        self._dtype = torch.float32
        self._backend: AttentionBackend = "bmm"
        self.token_multiple = 1
        self.dropout = DropoutStream(torch.device("cpu"))

    def on(self, compute: Compute) -> MultitaskModel:
        """Move to a device and set compute precision and attention back end."""
        self._dtype, self._backend = compute.dtype, compute.backend
        self.token_multiple = compute.token_multiple
        self.dropout = DropoutStream(compute.device)
        return self.to(compute.device)

    def embed(self, packed: Packed, rate: float) -> Tensor:
        """Pooled vectors (sequences, hidden) fp32, in the order given, under encoder dropout ``rate``."""
        states = self.encoder(
            packed, dropout=self.dropout, rate=rate, dtype=self._dtype, backend=self._backend
        )
        return pool(states, packed, self._pooling, self.encoder)

    def forward(self, batch: Batch, encoder_rate: float = 0.0, head_rate: float = 0.0) -> dict[str, Tensor]:
        """Outputs of every task in a batch: (batch,) values or (batch, classes) logits."""
        vectors = self.dropout(self.embed(batch.packed, encoder_rate), head_rate)
        if self.shared is not None:
            vectors = torch.tanh(self.shared(vectors))
        return {
            part.task: self.heads[part.task](*(vectors[rows] for rows in part.sequences))
            for part in batch.parts
        }

    def head(self, task: str) -> Head:
        """The head of a task."""
        head = self.heads[task]
        assert isinstance(head, Head)
        return head

    def clear_gradients(self) -> None:
        """Forget all gradients."""
        self.clear_shared_gradients()
        for parameter in self.heads.parameters():
            parameter.grad = None

    def clear_shared_gradients(self) -> None:
        """Forget the gradients of everything that several tasks share."""
        self.encoder.clear_gradients()
        if self.shared is not None:
            self.shared.zero_grad()


def build_model(config: TrainConfig, shape: EncoderConfig, weights: dict[str, Tensor]) -> MultitaskModel:
    """Make a trial's model: pre-trained encoder weights, fresh heads from the trial's own streams."""
    model = MultitaskModel(config, load_encoder(shape, weights))
    fresh = [("shared", model.shared)] if model.shared is not None else []
    for name, module in [*fresh, *((f"head-{name}", head) for name, head in model.heads.items())]:
        assert module is not None
        _initialise(module, shape.initializer_range, stream_seed(config.seed, "initialisation", name))
    return model


def _initialise(module: nn.Module, spread: float, seed: int) -> None:
    """Draw weights as BERT does: normal with standard deviation ``spread``, zero biases."""
    generator = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0.0, spread, generator=generator)
            nn.init.zeros_(layer.bias)
