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
from minbert.heads import Head, build_head, joined_width
from minbert.pooling import pool
from minbert.seeds import stream_seed
from minbert.shared_layer import SharedLayer, build_shared_layer


class MultitaskModel(nn.Module):
    """The model of one trial.

    Attributes:
        encoder: the shared BERT.
        shared: the layer that several heads share, or None.
        heads: one per task.
        auxiliary: parts that a stage trains and nothing else uses, by name; empty between stages.
        spread: standard deviation of fresh weights, the encoder's own.
        dropout: stream of all dropout masks; seeded by the training loop for every step.
        token_multiple: what the tokens of a batch are best rounded up to.
    """

    def __init__(self, config: TrainConfig, encoder: BertEncoder) -> None:
        super().__init__()
        hidden = encoder.config.hidden_size
        self.encoder = encoder
        self.shared = _shared_layer(config, hidden)
        self.heads = ByTask(
            {name: build_head(task, hidden, config.shared_layer) for name, task in config.tasks.items()}
        )
        self.auxiliary = nn.ModuleDict()
        self.spread = encoder.config.initializer_range
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

    def embed(self, packed: Packed, rate: float, offset: Tensor | None = None) -> Tensor:
        """Pool every sequence.

        Args:
            packed: the sequences.
            rate: dropout inside the encoder.
            offset: (tokens, hidden) added to the word embeddings.

        Returns:
            (sequences, hidden) fp32 vectors in the order given.
        """
        return pool(self.states(packed, rate, offset), packed, self._pooling, self.encoder)

    def states(self, packed: Packed, rate: float, offset: Tensor | None = None) -> Tensor:
        """(tokens, hidden) last hidden states of the packed tokens; arguments as for :meth:`embed`."""
        return self.encoder(  # type: ignore[no-any-return]
            packed,
            dropout=self.dropout,
            rate=rate,
            dtype=self._dtype,
            backend=self._backend,
            offset=offset,
        )

    def forward(
        self,
        batch: Batch,
        encoder_rate: float = 0.0,
        head_rate: float = 0.0,
        offset: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Outputs of every task in a batch.

        Args:
            batch: the tasks' examples.
            encoder_rate: dropout inside the encoder.
            head_rate: dropout on the pooled vectors.
            offset: (tokens, hidden) added to the word embeddings.

        Returns:
            (batch,) values or (batch, classes) logits by task.
        """
        vectors = self.embed(batch.packed, encoder_rate, offset)
        return self.outputs(batch, self.dropout(vectors, head_rate))

    def outputs(self, batch: Batch, vectors: Tensor) -> dict[str, Tensor]:
        """What :meth:`forward` gives, from the batch's (sequences, hidden) pooled vectors."""
        return {
            part.task: self.heads[part.task](
                *(vectors[rows] for rows in part.sequences), dropout=self.dropout, shared=self.shared
            )
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
        self.heads.zero_grad()
        self.auxiliary.zero_grad()

    def clear_shared_gradients(self) -> None:
        """Forget the gradients of everything that several tasks share."""
        self.encoder.clear_gradients()
        if self.shared is not None:
            self.shared.zero_grad()


class ByTask(nn.ModuleDict):
    """Modules by the names of tasks, also by those that torch refuses as it has methods of that name (``type``)."""

    def add_module(self, name: str, module: nn.Module | None) -> None:
        assert module is not None
        self._modules[name] = module


def build_model(config: TrainConfig, shape: EncoderConfig, weights: dict[str, Tensor]) -> MultitaskModel:
    """Make a trial's model: pre-trained encoder weights, fresh heads from the trial's own streams."""
    model = MultitaskModel(config, load_encoder(shape, weights))
    fresh: dict[str, nn.Module] = {f"head-{name}": head for name, head in model.heads.items()}
    if model.shared is not None:
        fresh["shared"] = model.shared
    for name, module in fresh.items():
        initialise(module, model.spread, stream_seed(config.seed, "initialisation", name))
    return model


def initialise(module: nn.Module, spread: float, seed: int) -> None:
    """Draw weights as BERT does: normal with standard deviation ``spread``, zero biases."""
    generator = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0.0, spread, generator=generator)
            nn.init.zeros_(layer.bias)


def _shared_layer(config: TrainConfig, hidden: int) -> SharedLayer | None:
    joined = hidden
    if config.shared_layer == "pairs":
        widths = {joined_width(task, hidden) for task in config.tasks.values() if len(task.text) == 2}
        (joined,) = widths  # the configuration refuses pair heads that join their inputs differently
    return build_shared_layer(config.shared_layer, hidden, joined, config.shared_dropout)
