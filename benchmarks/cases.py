"""What the throughput benchmark compares: shapes, heads, batches, and the data that all sides read."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from transformers import AutoTokenizer

from minbert.bundled import CORPUS, ENCODER
from minbert.checkpoint import EncoderFiles, open_encoder
from minbert.config import TrainConfig, build_config
from minbert.corpora.reader import Corpus, read_corpus
from minbert.corpora.tokenised import TokenisedCorpus, open_tokenised, tokenised
from minbert.encoder import BertEncoder, EncoderConfig

Heads = Literal["bi", "cross"]
SHAPES = {
    "minilm": EncoderConfig(30_522, 384, 6, 12, 1_536),
    "base": EncoderConfig(30_522, 768, 12, 12, 3_072),
}
MAX_LENGTH = 128
_PAIR_HEADS: dict[Heads, dict[str, Any]] = {
    "bi": {"qqp": {"head": {"kind": "concat"}}, "sts": {"head": {"kind": "cosine"}}},
    "cross": {"qqp": {"head": {"kind": "cross"}}, "sts": {"head": {"kind": "cross"}}},
}


@dataclass(frozen=True)
class Case:
    """One line of the results.

    Attributes:
        shape: a name of SHAPES.
        heads: pairs as two passes (bi) or one joint pass (cross).
        batch: examples of every task in a step.
        threads: of torch.
    """

    shape: str
    heads: Heads
    batch: int
    threads: int

    @property
    def encoder(self) -> EncoderConfig:
        return SHAPES[self.shape]

    @property
    def sentences(self) -> int:
        """Sentences a step: one of SST, two of each pair task."""
        return 5 * self.batch

    def __str__(self) -> str:
        return f"{self.shape} {self.heads} b{self.batch} {self.threads}thr"

    def config(self, **stage: Any) -> TrainConfig:
        """The package's configuration of the case; further leaves of the multitask stage by name."""
        return build_config(
            {
                "max_length": MAX_LENGTH,
                "device": "cpu",
                "threads": self.threads,
                "tasks": _PAIR_HEADS[self.heads],
                "stages": {
                    "finetune": {"epochs": 1, "epoch_steps": 1_000, "batch_size": self.batch, **stage}
                },
            }
        )


class Side(Protocol):
    """One of the programs that are compared; every call continues where the last one stopped."""

    name: str

    def step(self) -> None:
        """Train one step: a batch of every task."""

    def evaluate(self, examples: int) -> None:
        """Predict the first dev examples of every task."""


class Material:
    """Texts, vocabulary and weights.

    Args:
        data: folder in the course's layout; None: the bundled corpus.
        encoder: checkpoint folder whose vocabulary is used; None: the bundled one.
        pretrained: whether its weights are used, too; it has the shape of the case then.
    """

    def __init__(self, data: Path | None, encoder: Path | None, pretrained: bool = False) -> None:
        self.files: EncoderFiles = open_encoder(encoder or ENCODER)
        self._tasks = TrainConfig().tasks
        self.raw: Corpus = read_corpus(data or CORPUS, self._tasks)
        self._cache = tempfile.TemporaryDirectory()
        self._weights: dict[EncoderConfig, dict[str, Tensor]] = {}
        if pretrained:
            self._weights[self.files.config] = self.files.weights()

    @cached_property
    def corpus(self) -> TokenisedCorpus:
        """The texts as the package reads them."""
        return open_tokenised(tokenised(self.raw, self._tasks, self.files, Path(self._cache.name)))

    @cached_property
    def tokenizer(self) -> Any:
        """The vocabulary as transformers reads it."""
        return AutoTokenizer.from_pretrained(self.files.folder)

    def weights(self, shape: EncoderConfig) -> dict[str, Tensor]:
        """Weights, random unless pre-trained ones were asked for; the same for every side, which copies them."""
        if shape not in self._weights:
            self._weights[shape] = _random_weights(shape)
        return self._weights[shape]


def _random_weights(shape: EncoderConfig) -> dict[str, Tensor]:
    torch.manual_seed(0)
    encoder = BertEncoder(shape)
    with torch.no_grad():
        for name, value in encoder.named_parameters():
            if "LayerNorm" not in name:
                value.normal_(0, shape.initializer_range)
    return {name: value.detach().clone() for name, value in encoder.state_dict().items()}


def training_flops(shape: EncoderConfig, lengths: Sequence[int]) -> float:
    """Floating-point operations of a training step on sequences of these lengths.

    Products alone: linear layers and attention, forward once and backward twice.
    """
    hidden = shape.hidden_size
    linear = 2 * (4 * hidden**2 + 2 * hidden * shape.intermediate_size) * sum(lengths)
    attention = 4 * hidden * sum(length**2 for length in lengths)
    return float(3 * shape.num_hidden_layers * (linear + attention))
