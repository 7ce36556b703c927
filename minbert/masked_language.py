"""The masked-language-model loss that may go with unsupervised SimCSE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minbert.corpora.tokenised import TokenisedCorpus
from minbert.encoder import EncoderConfig, Packed, pack
from minbert.errors import UserError
from minbert.model import MultitaskModel, initialise
from minbert.seeds import stream_seed


@dataclass(frozen=True)
class Masked:
    """Sentences laid end to end, some of their tokens masked.

    Attributes:
        tokens: (tokens,) what the encoder reads.
        chosen: (chosen,) places of the tokens that are to be told.
        answers: (chosen,) what stood there.
    """

    tokens: np.ndarray
    chosen: np.ndarray
    answers: np.ndarray


def mask_tokens(
    sequences: Sequence[np.ndarray], share: float, mask_id: int, vocabulary: int, rng: np.random.Generator
) -> Masked:
    """Choose tokens and hide them as BERT does: 80% become [MASK], 10% any word, 10% stay (Devlin et al. 2019).

    Args:
        sequences: token ids; the first and the last of each are special tokens, which are never chosen.
        share: probability that a token is chosen; where it would be none of all, one is.
        mask_id: id of [MASK].
        vocabulary: number of words that a random one is drawn from.
        rng: source of the draws.
    """
    tokens = np.concatenate(sequences)
    ends = np.cumsum([len(sequence) for sequence in sequences])
    plain = np.ones(len(tokens), dtype=bool)
    plain[ends - 1] = False
    plain[[0, *ends[:-1]]] = False
    draws = np.where(plain, rng.random(len(tokens)), np.inf)
    chosen = np.flatnonzero(draws < max(share, np.nextafter(draws.min(), np.inf)))
    fate = rng.random(len(chosen))
    words = rng.integers(vocabulary, size=len(chosen))
    answers = tokens[chosen]
    tokens[chosen] = np.where(fate < 0.8, mask_id, np.where(fate < 0.9, words, answers))
    return Masked(tokens, chosen, answers)


class MaskedLanguageHead(nn.Module):
    """BERT's masked-language head: dense, gelu, layer norm, then the word embeddings as output matrix.

    Fresh but for the embeddings: an encoder's checkpoint has no such head.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, states: Tensor, words: Tensor) -> Tensor:
        """Map fp32 states (n, hidden) and word embeddings (vocabulary, hidden) to logits (n, vocabulary)."""
        return F.linear(self.LayerNorm(F.gelu(self.dense(states))), words, self.bias)


class MaskedLanguage:
    """Masked-language loss of a model; its head stands in ``model.auxiliary["masked_language"]``.

    Args:
        model: the model whose encoder is trained.
        corpus: gives the id of [MASK].
        share: of the tokens that are chosen.
        rate: dropout inside the encoder.
        device: where batches go.
        seed: of the fresh head.

    Raises:
        UserError: the vocabulary has no [MASK].
    """

    def __init__(
        self,
        model: MultitaskModel,
        corpus: TokenisedCorpus,
        share: float,
        rate: float,
        device: torch.device,
        seed: int,
    ) -> None:
        if corpus.mask_id is None:
            raise UserError("mlm_weight above 0 needs [MASK], which the encoder's vocabulary lacks")
        self._model, self._mask_id, self._share, self._rate = model, corpus.mask_id, share, rate
        self._device = device
        self._head = MaskedLanguageHead(model.encoder.config)
        initialise(self._head, model.spread, seed)
        model.auxiliary["masked_language"] = self._head.to(device)

    def loss(self, sequences: Sequence[np.ndarray], rng: np.random.Generator) -> tuple[Tensor, int]:
        """Mean cross-entropy of the chosen tokens, and the tokens read; dropout goes on in the step's stream."""
        return self._loss(*self._mask(sequences, rng))

    def shares(
        self, sequences: Sequence[np.ndarray], rng: np.random.Generator, size: int, seed: int
    ) -> Iterator[tuple[Tensor, int]]:
        """What every ``size`` sequences add to :meth:`loss`, and the tokens read; those that add nothing are left out.

        Every part has dropout masks of its own, from streams of ``seed``.
        """
        masked, lengths = self._mask(sequences, rng)
        for number, (part, own) in enumerate(_cut(masked, lengths, size)):
            if len(part.chosen):
                self._model.dropout.seed(stream_seed(seed, "masked", number))
                loss, read = self._loss(part, own)
                yield len(part.chosen) / len(masked.chosen) * loss, read

    def _mask(self, sequences: Sequence[np.ndarray], rng: np.random.Generator) -> tuple[Masked, np.ndarray]:
        """The sequences masked, and their lengths."""
        vocabulary = self._model.encoder.config.vocab_size
        masked = mask_tokens(sequences, self._share, self._mask_id, vocabulary, rng)
        return masked, np.fromiter(map(len, sequences), np.int64, len(sequences))

    def _loss(self, masked: Masked, lengths: np.ndarray) -> tuple[Tensor, int]:
        vocabulary = self._model.encoder.config.vocab_size
        pieces = np.split(masked.tokens, lengths.cumsum()[:-1])
        packed = pack(pieces, lengths.tolist(), self._device, self._model.token_multiple)
        places = torch.from_numpy(_packed_places(packed, lengths)[masked.chosen]).to(self._device)
        answers = torch.from_numpy(masked.answers.astype(np.int64)).to(self._device)
        states = self._model.states(packed, self._rate)[places].float()
        # Looked up, not read: the embeddings' own look-up is what keeps their gradient's books.
        every_word = torch.arange(vocabulary, device=self._device)
        words = self._model.encoder.embeddings.word_embeddings(every_word)
        return F.cross_entropy(self._head(states, words), answers), packed.tokens


def _cut(masked: Masked, lengths: np.ndarray, size: int) -> Iterator[tuple[Masked, np.ndarray]]:
    """Masked sequences and their lengths in parts of ``size`` sequences."""
    ends = np.cumsum([0, *lengths])
    for first in range(0, len(lengths), size):
        begin, end = ends[first], ends[min(first + size, len(lengths))]
        inside = (begin <= masked.chosen) & (masked.chosen < end)
        part = Masked(masked.tokens[begin:end], masked.chosen[inside] - begin, masked.answers[inside])
        yield part, lengths[first : first + size]


def _packed_places(packed: Packed, lengths: np.ndarray) -> np.ndarray:
    """(tokens,) where each token of sequences laid end to end stands in the packed batch."""
    sizes = np.array(packed.lengths)
    begins = (sizes.cumsum() - sizes)[packed.rows.cpu().numpy()]
    offsets = np.arange(lengths.sum()) - np.repeat(lengths.cumsum() - lengths, lengths)
    return np.repeat(begins, lengths) + offsets  # type: ignore[no-any-return]
