"""Objectives of the contrastive stages: unsupervised and supervised SimCSE.

All encodings of a step go through the encoder in one packed pass, or, where it may not hold so many,
in several with the gradient of the whole batch (:mod:`minbert.gradient_caching`). Every draw comes from a
stream named by stage, purpose, epoch and step, so a step does not depend on those before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from minbert.canonical import stream_name
from minbert.config import ContrastiveStage, SimCSEStage, SupervisedSimCSEStage, TrainConfig
from minbert.contrastive_losses import simcse_loss, supervised_simcse_loss
from minbert.corpora.sentences import Sentences, positive_pairs, training_sentences, triplets
from minbert.corpora.tokenised import TokenisedCorpus
from minbert.encoder import Packed, pack
from minbert.gradient_caching import cached_backward
from minbert.masked_language import MaskedLanguage
from minbert.model import MultitaskModel, initialise
from minbert.samplers import ExampleOrder
from minbert.seeds import stream, stream_seed
from minbert.steps import Objective, StepResult


def build_contrastive(
    model: MultitaskModel, config: TrainConfig, name: str, corpus: TokenisedCorpus, device: torch.device
) -> Objective:
    """Make the objective of a contrastive stage.

    Raises:
        UserError: the stage's data do not suffice, or the vocabulary lacks what it needs.
    """
    kind = SimCSEObjective if isinstance(config.stages[name], SimCSEStage) else SupervisedSimCSEObjective
    return kind(model, config, name, corpus, device)


_Groups = Sequence[Sequence[np.ndarray]]
"""Sequences of tokens by the part they have in an example: (groups, batch)."""


class _ContrastiveObjective:
    """Length of epochs, batches and encodings of a contrastive stage; it has no state of its own."""

    def __init__(
        self,
        model: MultitaskModel,
        config: TrainConfig,
        name: str,
        stage: ContrastiveStage,
        size: int,
        device: torch.device,
    ) -> None:
        self._model, self._contrast, self._device = model, stage, device
        self._seed, self._stream = config.seed, stream_name(config, name)
        self._order = ExampleOrder(size, config.seed, self._stream, "order")
        whole = stage.epoch_steps or math.ceil((stage.epoch_examples or size) / stage.batch_size)
        self._epoch_steps = max(1, round(whole * config.fidelity))
        self._projection: nn.Module | None = None
        if stage.projection:
            hidden = model.encoder.config.hidden_size
            self._projection = nn.Sequential(nn.Linear(hidden, hidden), nn.Tanh())
            seed = stream_seed(config.seed, self._stream, "initialisation", "projection")
            initialise(self._projection, model.spread, seed)
            model.auxiliary["projection"] = self._projection.to(device)

    def steps(self, epoch: int) -> int:
        share = min(1.0, self._contrast.epochs - (epoch - 1))
        return max(1, round(self._epoch_steps * share))

    def largest_pass(self, epoch: int, index: int) -> int:
        return self._contrast.batch_size

    def before_step(self) -> None:
        """Nothing to look at."""

    def summary(self) -> dict[str, Any]:
        return {}

    def counts(self) -> dict[str, Any]:
        return {}

    def load_counts(self, counts: Mapping[str, Any]) -> None:
        """There is nothing to load."""

    def after_epoch(self, metrics: Mapping[str, float] | None) -> None:
        """Scores change nothing here."""

    def state(self) -> dict[str, Tensor]:
        return {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """There is nothing to load."""

    def _batch(self, epoch: int, index: int) -> np.ndarray:
        """Numbers (batch,) of a step's examples."""
        size = self._contrast.batch_size
        return self._order.take(((epoch - 1) * self._epoch_steps + index) * size, size)

    def _dropout_seed(self, epoch: int, index: int) -> int:
        return stream_seed(self._seed, self._stream, "dropout", epoch, index)

    def _encode(self, groups: _Groups, seed: int) -> tuple[tuple[Tensor, ...], int]:
        """Encode groups of a batch's sequences in one pass: (batch, hidden) each, and the tokens read."""
        packed = self._pack(groups)
        return self._vectors(packed, seed).split(len(groups[0])), packed.tokens

    def _backward_in_pieces(
        self, groups: _Groups, seed: int, largest: int, loss: Callable[..., Tensor]
    ) -> int:
        """Add the gradients of a loss of the groups' (batch, hidden) vectors; the tokens of the batch.

        Args:
            largest: examples that a pass holds, each with its sequences of all groups.
        """
        begins = range(0, len(groups[0]), largest)
        pieces = [self._pack([group[begin : begin + largest] for group in groups]) for begin in begins]

        def encode(piece: tuple[int, Packed]) -> Tensor:
            number, packed = piece
            vectors = self._vectors(packed, stream_seed(seed, number))
            return torch.stack(vectors.chunk(len(groups)), dim=1)

        cached_backward(encode, list(enumerate(pieces)), lambda vectors: loss(*vectors.unbind(1)))
        return sum(packed.tokens for packed in pieces)

    def _pack(self, groups: _Groups) -> Packed:
        sequences = [sequence for group in groups for sequence in group]
        return pack(sequences, list(map(len, sequences)), self._device, self._model.token_multiple)

    def _vectors(self, packed: Packed, seed: int) -> Tensor:
        """(sequences, hidden) vectors under the masks of a seed."""
        self._model.dropout.seed(seed)
        vectors = self._model.embed(packed, self._contrast.encoder_dropout)
        vectors = self._model.dropout(vectors, self._contrast.dropout)
        return vectors if self._projection is None else self._projection(vectors)


class SimCSEObjective(_ContrastiveObjective):
    """Unsupervised SimCSE: every sentence is encoded twice under two dropout masks.

    With ``mlm_weight`` the sentences are encoded once more with some tokens masked (Gao et al. 2021, section 5).
    """

    def __init__(
        self,
        model: MultitaskModel,
        config: TrainConfig,
        name: str,
        corpus: TokenisedCorpus,
        device: torch.device,
    ) -> None:
        stage = config.stages[name]
        assert isinstance(stage, SimCSEStage)
        self._stage = stage
        self._sentences = training_sentences(corpus, config, stage)
        super().__init__(model, config, name, stage, len(self._sentences), device)
        self._masked: MaskedLanguage | None = None
        if stage.mlm_weight:
            seed = stream_seed(config.seed, self._stream, "initialisation", "masked_language")
            self._masked = MaskedLanguage(model, corpus, stage.mlm_share, stage.encoder_dropout, device, seed)

    def backward(self, epoch: int, index: int, largest: int | None = None) -> StepResult:
        stage = self._stage
        batch = [self._sentences[number] for number in self._batch(epoch, index)]
        if largest is not None and largest < len(batch):
            return self._in_pieces(batch, epoch, index, largest)
        (first, second), tokens = self._encode([batch, batch], self._dropout_seed(epoch, index))
        losses = {"simcse": simcse_loss(first, second, stage.temperature)}
        total = losses["simcse"]
        if self._masked is not None:
            losses["mlm"], read = self._masked.loss(batch, self._masks(epoch, index))
            total = total + stage.mlm_weight * losses["mlm"]
            tokens += read
        total.backward()
        return StepResult({name: loss.detach() for name, loss in losses.items()}, len(batch), tokens)

    def _in_pieces(self, batch: Sequence[np.ndarray], epoch: int, index: int, largest: int) -> StepResult:
        losses: dict[str, Tensor] = {}
        seed = self._dropout_seed(epoch, index)

        def loss(first: Tensor, second: Tensor) -> Tensor:
            losses["simcse"] = simcse_loss(first, second, self._stage.temperature)
            return losses["simcse"]

        tokens = self._backward_in_pieces([batch, batch], seed, largest, loss)
        if self._masked is not None:
            parts = []
            for share, read in self._masked.shares(batch, self._masks(epoch, index), largest, seed):
                (self._stage.mlm_weight * share).backward()
                parts.append(share.detach())
                tokens += read
            losses["mlm"] = torch.stack(parts).sum()
        return StepResult({name: loss.detach() for name, loss in losses.items()}, len(batch), tokens)

    def _masks(self, epoch: int, index: int) -> np.random.Generator:
        return stream(self._seed, self._stream, "mask", epoch, index)


class SupervisedSimCSEObjective(_ContrastiveObjective):
    """Supervised SimCSE on triplets, or on a task's positive pairs.

    A pair's hard negative is the second sentence of another pair: those of all pairs in an order that
    leaves none in place ("Simple contrastive learning", section 3.3). Whatever has the text of a
    sentence's own positive is left out of its negatives.
    """

    def __init__(
        self,
        model: MultitaskModel,
        config: TrainConfig,
        name: str,
        corpus: TokenisedCorpus,
        device: torch.device,
    ) -> None:
        stage = config.stages[name]
        assert isinstance(stage, SupervisedSimCSEStage)
        self._stage = stage
        self._columns: tuple[Sentences, ...] = (
            triplets(corpus, stage)
            if stage.task is None
            else positive_pairs(corpus, config, stage, stage.task)
        )
        super().__init__(model, config, name, stage, len(self._columns[0]), device)
        self._others: np.ndarray | None = None
        if stage.task is not None:
            rng = stream(config.seed, self._stream, "negatives")
            self._others = derangement(len(self._columns[0]), rng)

    def backward(self, epoch: int, index: int, largest: int | None = None) -> StepResult:
        numbers = self._batch(epoch, index)
        groups = [[column[number] for number in numbers] for column in self._columns]
        same = None
        if self._others is not None:
            groups.append([self._columns[1][number] for number in self._others[numbers]])
            same = _same_text(groups[1], groups[2]).to(self._device)
        found: list[Tensor] = []

        def loss(sentence: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
            alpha = self._stage.hard_negative_weight
            found.append(
                supervised_simcse_loss(sentence, positive, negative, self._stage.temperature, alpha, same)
            )
            return found[0]

        seed = self._dropout_seed(epoch, index)
        if largest is not None and largest < len(numbers):
            tokens = self._backward_in_pieces(groups, seed, largest, loss)
        else:
            vectors, tokens = self._encode(groups, seed)
            loss(*vectors).backward()
        return StepResult({"supervised_simcse": found[0].detach()}, len(numbers), tokens)


def derangement(size: int, rng: np.random.Generator) -> np.ndarray:
    """A permutation of ``size`` numbers (at least two) that leaves none in place; all are equally likely."""
    while True:  # a random permutation is one with probability 1/e
        permutation = rng.permutation(size)
        if not (permutation == np.arange(size)).any():
            return permutation


def _same_text(positives: Sequence[np.ndarray], negatives: Sequence[np.ndarray]) -> Tensor:
    """(batch, 2 · batch) bool: which of [positives | negatives] have the text of the row's positive."""
    codes: dict[bytes, int] = {}
    texts = np.array([codes.setdefault(text.tobytes(), len(codes)) for text in [*positives, *negatives]])
    return torch.from_numpy(texts[: len(positives), None] == texts)
