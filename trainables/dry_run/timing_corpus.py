"""A corpus to time steps on: as large as the real one, made of a few of its sentences over and over.

Tokenising all of a large corpus takes longer than the timing, and a dry run keeps nothing that a search could use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from tokenizers import BertWordPieceTokenizer, Tokenizer

from minbert.checkpoint import EncoderFiles
from minbert.config import TaskConfig
from minbert.corpora.reader import Corpus, Examples
from minbert.corpora.tokenised import TokenisedCorpus, TokenisedSplit, TokenTable

_SAMPLE = 256
_HELD_OUT = 10  # one in so many, as train_holdout does


def timing_corpus(corpus: Corpus, tasks: Mapping[str, TaskConfig], encoder: EncoderFiles) -> TokenisedCorpus:
    """Training sets and texts of the real sizes, lengths and labels; dev and test are left out.

    Args:
        corpus: the real one.
        tasks: that are trained.
        encoder: whose vocabulary counts.
    """
    tokenizer = encoder.tokenizer()
    splits = {task: {"train": _split(tokenizer, corpus.splits[task]["train"])} for task in tasks}
    texts = {
        name: tuple(_table(tokenizer, column) for column in text.columns)
        for name, text in corpus.texts.items()
    }
    first, last = (int(tokenizer.token_to_id(name) or 0) for name in ("[CLS]", "[SEP]"))
    mask = tokenizer.token_to_id("[MASK]")
    return TokenisedCorpus(corpus.fingerprint, first, last, splits, mask_id=mask, texts=texts)


def _split(tokenizer: Tokenizer | BertWordPieceTokenizer, examples: Examples) -> TokenisedSplit:
    columns = tuple(_table(tokenizer, texts) for texts in examples.texts)
    held_out = np.arange(len(examples)) % _HELD_OUT == 0
    labels = None if examples.labels is None else examples.labels.astype(np.float32)
    return TokenisedSplit(columns, examples.ids, labels, held_out)


def _table(tokenizer: Tokenizer | BertWordPieceTokenizer, texts: Sequence[str]) -> TokenTable:
    """As many sequences as there are texts. Each repetition begins with another token, as sentences are distinct."""
    chosen = np.unique(np.linspace(0, len(texts) - 1, min(_SAMPLE, len(texts))).astype(int))
    encodings = tokenizer.encode_batch([texts[row] for row in chosen], add_special_tokens=False)
    sequences = [np.array(encoding.ids, np.int32) for encoding in encodings]
    times = -(-len(texts) // len(sequences))
    lengths = np.tile([len(sequence) for sequence in sequences], times)[: len(texts)]
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    flat = np.tile(np.concatenate(sequences), times)[: offsets[-1]]
    first = offsets[:-1][lengths > 0]
    repetition = (np.arange(len(texts)) // len(sequences))[lengths > 0]
    flat[first] = (flat[first] + repetition) % tokenizer.get_vocab_size()
    return TokenTable(flat, offsets)
