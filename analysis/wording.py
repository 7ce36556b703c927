"""What can be counted in a text: length, words in common, unknown words, polarity words."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.scoring import Floats
from minbert.errors import UserError

Texts = Sequence[Sequence[str]]
"""One or two columns of n texts each."""

SURE = 3.0
"""Standard errors that a polarity word's mean label is away from the mean of all."""
STRONG = 0.5
"""Standard deviations of the labels that it is away at least: common words are sure long before they are polar."""


@dataclass(frozen=True)
class Vocabulary:
    """The whole words that an encoder knows."""

    words: frozenset[str]
    lowercase: bool


def words(text: str, lowercase: bool = True) -> list[str]:
    """Split as BERT does before it looks words up: at spaces and punctuation, which itself is dropped;
    in lower case without accents."""
    if lowercase:
        decomposed = unicodedata.normalize("NFD", text.lower())
        text = "".join(char for char in decomposed if unicodedata.category(char) != "Mn")
    return re.findall(r"[^\W_]+", text)


def characters(texts: Texts) -> Floats:
    """(n,) characters of an example; of a pair, those of both sentences (003, section 6)."""
    return np.array([sum(map(len, row)) for row in zip(*texts, strict=True)], np.float64)


def word_overlap(texts: Texts) -> Floats:
    """(n,) words that a pair has in common among all its words (Jaccard); 0 … 1."""
    first, second = ([set(words(text)) for text in column] for column in texts)
    return np.array([len(a & b) / max(1, len(a | b)) for a, b in zip(first, second, strict=True)], np.float64)


def unknown_words(texts: Texts, vocabulary: Vocabulary) -> Floats:
    """(n,) words of an example that the encoder has not as a whole; digits count as words."""
    known, lowercase = vocabulary.words, vocabulary.lowercase
    return np.array(
        [
            sum(word not in known for text in row for word in words(text, lowercase))
            for row in zip(*texts, strict=True)
        ],
        np.float64,
    )


def polarity_words(texts: Sequence[str], labels: Floats, least: int = 5) -> dict[str, int]:
    """Words that stand in texts of high (+1) or low (−1) labels, by what is surely and strongly so.

    A word counts when it stands in at least ``least`` texts, and their mean label is away from the mean
    of all by ``SURE`` standard errors and ``STRONG`` standard deviations.
    """
    spread, mean = float(labels.std()), float(labels.mean()) if len(labels) else 0.0
    counts: Counter[str] = Counter()
    sums: dict[str, float] = defaultdict(float)
    for text, label in zip(texts, labels.tolist(), strict=True):
        for word in set(words(text)):
            counts[word] += 1
            sums[word] += label
    found = {}
    for word, count in counts.items():
        shift = sums[word] / count - mean
        if count >= least and abs(shift) >= spread * max(STRONG, SURE / count**0.5) > 0:
            found[word] = 1 if shift > 0 else -1
    return found


def polarity(texts: Texts, lexicon: Mapping[str, int]) -> Floats:
    """(n,) positive minus negative words of an example."""
    return np.array(
        [
            sum(lexicon.get(word, 0) for text in row for word in words(text))
            for row in zip(*texts, strict=True)
        ],
        np.float64,
    )


def read_vocabulary(folder: Path) -> Vocabulary | None:
    """The vocabulary of an encoder's folder (``tokenizer.json`` or ``vocab.txt``); None where it has gone.

    Raises:
        UserError: a file is damaged.
    """
    whole, plain, settings = (
        folder / name for name in ("tokenizer.json", "vocab.txt", "tokenizer_config.json")
    )
    file = whole
    try:
        if whole.is_file():
            content = json.loads(whole.read_text(encoding="utf-8"))
            lowercase = bool((content.get("normalizer") or {}).get("lowercase", False))
            return Vocabulary(frozenset(content["model"]["vocab"]), lowercase)
        if not plain.is_file():
            return None
        file = settings
        settled = json.loads(settings.read_text(encoding="utf-8")) if settings.is_file() else {}
        file = plain
        listed = frozenset(plain.read_text(encoding="utf-8").splitlines())
        return Vocabulary(listed, bool(settled.get("do_lower_case", True)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{file}: the vocabulary cannot be read: {error}") from None
