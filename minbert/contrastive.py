"""Objectives of the contrastive stages: unsupervised and supervised SimCSE.

All encodings of a step go through the encoder in one packed pass. Every draw comes from a
stream named by stage, purpose, epoch and step, so a step does not depend on those before it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from minbert.canonical import stream_name
from minbert.config import ContrastiveStage, SimCSEStage, SupervisedSimCSEStage, TrainConfig
from minbert.contrastive_losses import simcse_loss, supervised_simcse_loss
from minbert.corpora.sentences import Sentences, positive_pairs, training_sentences, triplets
from minbert.corpora.tokenised import TokenisedCorpus
from minbert.encoder import pack
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

    def before_step(self) -> None:
        """Nothing to look at."""

    def summary(self) -> dict[str, Any]:
        return {}

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

    def _encode(
        self, groups: Sequence[Sequence[np.ndarray]], epoch: int, index: int
    ) -> tuple[tuple[Tensor, ...], int]:
        """Encode groups of a batch's sequences in one pass: (batch, hidden) each, and the tokens read."""
        sequences = [sequence for group in groups for sequence in group]
        packed = pack(sequences, list(map(len, sequences)), self._device, self._model.token_multiple)
        self._model.dropout.seed(stream_seed(self._seed, self._stream, "dropout", epoch, index))
        vectors = self._model.embed(packed, self._contrast.encoder_dropout)
        vectors = self._model.dropout(vectors, self._contrast.dropout)
        if self._projection is not None:
            vectors = self._projection(vectors)
        return vectors.split(len(groups[0])), packed.tokens


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

    def backward(self, epoch: int, index: int) -> StepResult:
        stage = self._stage
        batch = [self._sentences[number] for number in self._batch(epoch, index)]
        (first, second), tokens = self._encode([batch, batch], epoch, index)
        losses = {"simcse": simcse_loss(first, second, stage.temperature)}
        total = losses["simcse"]
        if self._masked is not None:
            rng = stream(self._seed, self._stream, "mask", epoch, index)
            losses["mlm"], read = self._masked.loss(batch, rng)
            total = total + stage.mlm_weight * losses["mlm"]
            tokens += read
        total.backward()
        return StepResult({name: loss.detach() for name, loss in losses.items()}, len(batch), tokens)


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

    def backward(self, epoch: int, index: int) -> StepResult:
        stage = self._stage
        numbers = self._batch(epoch, index)
        groups = [[column[number] for number in numbers] for column in self._columns]
        same = None
        if self._others is not None:
            groups.append([self._columns[1][number] for number in self._others[numbers]])
            same = _same_text(groups[1], groups[2]).to(self._device)
        (sentence, positive, negative), tokens = self._encode(groups, epoch, index)
        loss = supervised_simcse_loss(
            sentence, positive, negative, stage.temperature, stage.hard_negative_weight, same
        )
        loss.backward()
        return StepResult({"supervised_simcse": loss.detach()}, len(numbers), tokens)


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
