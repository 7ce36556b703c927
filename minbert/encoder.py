"""BERT's encoder on packed batches, with Hugging Face's parameter names.

``BertEncoder`` holds the parameters of ``transformers.BertModel`` under the same names.
It computes on sequences laid end to end (:class:`Packed`), so padding costs nothing;
:meth:`BertEncoder.forward_padded` takes the usual padded matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minbert.attention import AttentionBackend, Chunk, attend, plan_chunks
from minbert.dropout import DropoutStream, kept_scale
from minbert.embeddings import Embeddings, WordEmbeddings
from minbert.fused import dropped_sum_norm, linear


@dataclass(frozen=True)
class EncoderConfig:
    """Shape of a BERT encoder; field names are those of Hugging Face's ``config.json``."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02


@dataclass(frozen=True)
class Packed:
    """Sequences laid end to end in ascending order of length.

    Attributes:
        ids, segments, positions: (tokens,) token ids, token types and positions, int64.
        lengths: tokens of each sequence, ascending.
        rows: (sequences,) where the k-th sequence given stands in the ascending order.
        filler: tokens of a sequence that was added to round up their number; no row names it.
    """

    ids: Tensor
    segments: Tensor
    positions: Tensor
    lengths: tuple[int, ...]
    rows: Tensor
    filler: int = 0

    @property
    def tokens(self) -> int:
        """Tokens given, without the filler."""
        return len(self.ids) - self.filler

    @cached_property
    def chunks(self) -> tuple[Chunk, ...]:
        """The attention plan of the batch."""
        return plan_chunks(self.lengths, self.ids.device)

    @cached_property
    def starts(self) -> Tensor:
        """(sequences,) first token of each sequence."""
        sizes = torch.tensor(self.lengths)
        return (sizes.cumsum(0) - sizes).to(self.ids.device)

    @cached_property
    def owners(self) -> Tensor:
        """(tokens,) the sequence that each token belongs to."""
        return torch.repeat_interleave(torch.tensor(self.lengths)).to(self.ids.device)


def pack(
    sequences: Sequence[np.ndarray],
    second_starts: Sequence[int],
    device: torch.device | str = "cpu",
    multiple: int = 1,
) -> Packed:
    """Lay token sequences end to end.

    Args:
        sequences: token ids of each sequence, special tokens included.
        second_starts: where token type 1 begins in each (its length for a single sentence).
        device: where the tensors go.
        multiple: the number of tokens is rounded up to a multiple of this.
    """
    given = len(sequences)
    filler = -sum(map(len, sequences)) % multiple
    if filler:
        sequences, second_starts = [*sequences, np.zeros(filler, np.int32)], [*second_starts, filler]
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    order = np.argsort(lengths, kind="stable")
    rows = np.empty_like(order)
    rows[order] = np.arange(len(order))
    sizes = lengths[order]
    positions = np.arange(sizes.sum()) - np.repeat(sizes.cumsum() - sizes, sizes)
    segments = positions >= np.repeat(np.asarray(second_starts)[order], sizes)
    ids = np.concatenate([sequences[index] for index in order])

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array.astype(np.int64)).to(device, non_blocking=True)

    return Packed(
        tensor(ids), tensor(segments), tensor(positions), tuple(sizes.tolist()), tensor(rows[:given]), filler
    )


class _Embeddings(nn.Module):
    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.word_embeddings = WordEmbeddings(config.vocab_size, config.hidden_size)
        self.position_embeddings = Embeddings(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = Embeddings(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, batch: Packed, dtype: torch.dtype, offset: Tensor | None) -> Tensor:
        words = self.word_embeddings(batch.ids)
        words = words if offset is None else words + offset
        total = words + self.position_embeddings(batch.positions)
        return self.LayerNorm(total + self.token_type_embeddings(batch.segments)).to(dtype)


class _SelfAttention(nn.Module):
    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.query, self.key, self.value)  # one product for all three


class _Output(nn.Module):
    """The end of a sublayer: dense, dropout, residual, layer norm."""

    def __init__(self, width: int, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor, residual: Tensor, dropout: DropoutStream, rate: float) -> Tensor:
        x = linear(x, self.dense)
        return dropped_sum_norm(x, residual, dropout.mask(x.numel(), rate), kept_scale(rate), self.LayerNorm)


class _Attention(nn.Module):
    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.self = _SelfAttention(config)
        self.output = _Output(config.hidden_size, config)


class _Dense(nn.Module):
    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, out)

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.dense)


class _Layer(nn.Module):
    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.attention = _Attention(config)
        self.intermediate = _Dense(config.hidden_size, config.intermediate_size)
        self.output = _Output(config.intermediate_size, config)

    def forward(
        self, x: Tensor, batch: Packed, dropout: DropoutStream, rate: float, backend: AttentionBackend
    ) -> Tensor:
        context = attend(self.attention.self(x), self.heads, batch.chunks, dropout, rate, backend)
        x = self.attention.output(context, x, dropout, rate)
        return self.output(F.gelu(self.intermediate(x)), x, dropout, rate)


class _Layers(nn.Module):
    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))


class BertEncoder(nn.Module):
    """BERT without a task head (Devlin et al. 2019); computes in ``dtype``, parameters stay fp32."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = _Embeddings(config)
        self.encoder = _Layers(config)
        self.pooler = _Dense(config.hidden_size, config.hidden_size)

    def forward(
        self,
        batch: Packed,
        *,
        dropout: DropoutStream | None = None,
        rate: float = 0.0,
        dtype: torch.dtype = torch.float32,
        backend: AttentionBackend = "bmm",
        offset: Tensor | None = None,
    ) -> Tensor:
        """Encode a packed batch.

        Args:
            batch: the sequences.
            dropout: stream of dropout masks; None: no dropout.
            rate: dropout rate of embeddings, attention probabilities and sublayer outputs.
            dtype: compute precision.
            backend: attention implementation.
            offset: (tokens, hidden) fp32 in the batch's order, filler included, added to the word
                embeddings; gradients reach it.

        Returns:
            (tokens, hidden) last hidden states in ``dtype``.
        """
        dropout = dropout if dropout is not None else DropoutStream(batch.ids.device)
        x = dropout(self.embeddings(batch, dtype, offset), rate)
        for layer in self.encoder.layer:
            x = layer(x, batch, dropout, rate, backend)
        return x

    def forward_padded(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Encode a padded batch; all arguments (batch, tokens), padding at the end of the rows.

        Returns:
            (batch, tokens, hidden) last hidden states; zeros at padding.
        """
        real = attention_mask.bool()
        lengths = real.sum(1).tolist()
        sequences = [row[:n].cpu().numpy() for row, n in zip(input_ids, lengths, strict=True)]
        firsts = [int(n - kinds[:n].sum()) for kinds, n in zip(token_type_ids, lengths, strict=True)]
        batch = pack(sequences, firsts, input_ids.device)
        states = self(batch)
        padded = states.new_zeros(*input_ids.shape, states.shape[1])
        for index, row in enumerate(batch.rows.tolist()):
            first = int(batch.starts[row])
            padded[index, : lengths[index]] = states[first : first + lengths[index]]
        return padded

    def clear_gradients(self) -> None:
        """Forget all gradients; cheaper than ``zero_grad`` because only used word rows are cleared."""
        words = self.embeddings.word_embeddings
        words.clear_gradient()
        for parameter in self.parameters():
            if parameter is not words.weight:
                parameter.grad = None

    def pool(self, first_states: Tensor) -> Tensor:
        """BERT's pooler, tanh(W · h[CLS] + b), on (sequences, hidden) states of the first token."""
        return torch.tanh(self.pooler(first_states))
