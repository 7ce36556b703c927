"""Sentences that the contrastive stages read, as token sequences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minbert.config import SimCSEStage, SupervisedSimCSEStage, TrainConfig, sentence_tasks, text_of
from minbert.corpora.rows import training_rows
from minbert.corpora.tokenised import TokenisedCorpus, TokenTable
from minbert.errors import UserError


class Sentences:
    """Some rows of some token tables, with special tokens and cut to a length; nothing is copied.

    Args:
        tables: where the tokens are.
        table: (n,) which table each sentence is in.
        row: (n,) its row there.
        corpus: gives the special tokens.
        max_length: tokens a sentence, special tokens included.
    """

    def __init__(
        self,
        tables: Sequence[TokenTable],
        table: np.ndarray,
        row: np.ndarray,
        corpus: TokenisedCorpus,
        max_length: int,
    ) -> None:
        self._tables, self._table, self._row = tuple(tables), table, row
        self._begin = np.array([corpus.cls_id], dtype=np.int32)
        self._end = np.array([corpus.sep_id], dtype=np.int32)
        self._longest = max_length - 2

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, number: int) -> np.ndarray:
        tokens = self._tables[self._table[number]][self._row[number]]
        return np.concatenate([self._begin, tokens[: self._longest], self._end])


def training_sentences(corpus: TokenisedCorpus, config: TrainConfig, stage: SimCSEStage) -> Sentences:
    """The distinct sentences of an unsupervised stage: training sentences of its tasks, then its text's.

    Two sentences that are equal once they are cut are one. Sentences without a token are left out.

    Raises:
        UserError: there are fewer than two.
    """
    tables: list[TokenTable] = []
    rows: list[np.ndarray] = []
    for task in sentence_tasks(config, stage):
        trained = training_rows(corpus, task, config.selection)
        for column in corpus.splits[task]["train"].columns:
            tables.append(column)
            rows.append(trained)
    name = text_of(stage)
    for column in corpus.texts[name] if name is not None else ():
        tables.append(column)
        rows.append(np.arange(len(column)))
    kept = _first_of_its_kind(tables, rows, stage.max_length - 2)
    table = np.repeat(np.arange(len(tables)), [len(found) for found in kept])
    sentences = Sentences(tables, table, np.concatenate(kept), corpus, stage.max_length)
    if len(sentences) < 2:
        raise UserError(f"a simcse stage has {len(sentences)} distinct sentence(s); it needs at least two")
    return sentences


def triplets(corpus: TokenisedCorpus, stage: SupervisedSimCSEStage) -> tuple[Sentences, ...]:
    """Sentences, positives and hard negatives of a supervised stage's text."""
    name = text_of(stage)
    assert name is not None
    columns = corpus.texts[name]
    rows = np.arange(len(columns[0]))
    return tuple(
        Sentences([column], np.zeros_like(rows), rows, corpus, stage.max_length) for column in columns
    )


def positive_pairs(
    corpus: TokenisedCorpus, config: TrainConfig, stage: SupervisedSimCSEStage, task: str
) -> tuple[Sentences, ...]:
    """First and second sentences of a task's training pairs with label 1.

    Raises:
        UserError: there are fewer than two such pairs.
    """
    train = corpus.splits[task]["train"]
    rows = training_rows(corpus, task, config.selection)
    assert train.labels is not None
    rows = rows[train.labels[rows] == 1]
    if len(rows) < 2:
        raise UserError(
            f"supervised_simcse on task {task!r}: {len(rows)} positive training pair(s); it needs at least two"
        )
    return tuple(
        Sentences([column], np.zeros_like(rows), rows, corpus, stage.max_length) for column in train.columns
    )


def _first_of_its_kind(
    tables: Sequence[TokenTable], rows: Sequence[np.ndarray], longest: int
) -> list[np.ndarray]:
    """Rows of each table whose first ``longest`` tokens stand nowhere before."""
    seen: set[bytes] = {b""}
    kept = []
    for table, candidates in zip(tables, rows, strict=True):
        data, width = table.flat.tobytes(), table.flat.itemsize
        begins = table.offsets[candidates] * width
        ends = begins + np.minimum(table.lengths[candidates], longest) * width
        new = []
        for row, begin, end in zip(candidates.tolist(), begins.tolist(), ends.tolist(), strict=True):
            tokens = data[begin:end]
            if tokens not in seen:
                seen.add(tokens)
                new.append(row)
        kept.append(np.array(new, dtype=np.int64))
    return kept
