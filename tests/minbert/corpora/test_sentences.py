"""Which sentences the contrastive stages read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from minbert.config import TrainConfig
from minbert.corpora.rows import training_rows
from minbert.corpora.sentences import Sentences, positive_pairs, training_sentences, triplets
from minbert.corpora.tokenised import TokenisedCorpus, TokenTable
from minbert.errors import UserError

MakeConfig = Callable[..., TrainConfig]
CLS, SEP = 2, 3


def table(*rows: list[int]) -> TokenTable:
    flat = np.array([token for row in rows for token in row], dtype=np.int32)
    return TokenTable(flat, np.cumsum([0, *map(len, rows)]))


def with_texts(corpus: TokenisedCorpus, **texts: tuple[TokenTable, ...]) -> TokenisedCorpus:
    return dataclasses.replace(corpus, texts=texts)


def listed(sentences: Sentences) -> list[list[int]]:
    return [sentences[number].tolist() for number in range(len(sentences))]


def stage(config: TrainConfig, name: str) -> Any:
    return config.stages[name]


def texts_of(corpus: TokenisedCorpus, task: str, rows: Mapping[int, Any] | Any) -> list[list[int]]:
    return [t[row].tolist() for t in corpus.splits[task]["train"].columns for row in rows]


def test_training_rows_are_all_of_train_or_all_but_its_held_out_tenth(small_corpus: TokenisedCorpus) -> None:
    selected = small_corpus.splits["qqp"]["train"].selected
    assert selected is not None and 0 < selected.sum() < 10
    assert training_rows(small_corpus, "qqp", "dev_half").tolist() == list(range(40))
    held_out = set(range(40)) - set(training_rows(small_corpus, "qqp", "train_holdout").tolist())
    assert held_out == set(np.flatnonzero(selected).tolist())


def test_sentences_are_distinct_cut_and_in_the_order_of_tasks_then_of_the_text(
    small_corpus: TokenisedCorpus, configure: MakeConfig
) -> None:
    corpus = with_texts(small_corpus, wiki=(table([7, 8, 9, 10, 11], [], [7, 8, 9, 12], [30], [30]),))
    config = configure(
        stages__simcse__tasks=["sts", "sst"], stages__simcse__text="wiki", stages__simcse__max_length=5
    )
    found = listed(training_sentences(corpus, config, stage(config, "simcse")))
    expected: list[list[int]] = []
    for tokens in [
        *texts_of(small_corpus, "sst", range(40)),
        *texts_of(small_corpus, "sts", range(40)),
        [7, 8, 9, 10, 11],
        [30],
    ]:
        sentence = [CLS, *tokens[:3], SEP]
        if sentence not in expected:
            expected.append(sentence)
    assert found == expected
    assert [CLS, 30, SEP] in found and [CLS, SEP] not in found


def test_a_text_alone_is_read_without_the_tasks(small_corpus: TokenisedCorpus, configure: MakeConfig) -> None:
    corpus = with_texts(small_corpus, wiki=(table([7, 8], [9]),))
    config = configure(stages__simcse__text="wiki")
    assert listed(training_sentences(corpus, config, stage(config, "simcse"))) == [
        [CLS, 7, 8, SEP],
        [CLS, 9, SEP],
    ]


def test_held_out_sentences_are_left_out(small_corpus: TokenisedCorpus, configure: MakeConfig) -> None:
    config = configure(
        selection="train_holdout", stages__simcse__tasks=["sts"], stages__simcse__max_length=64
    )
    found = listed(training_sentences(small_corpus, config, stage(config, "simcse")))
    selected = small_corpus.splits["sts"]["train"].selected
    assert selected is not None
    kept = [[CLS, *tokens, SEP] for tokens in texts_of(small_corpus, "sts", np.flatnonzero(~selected))]
    gone = [[CLS, *tokens, SEP] for tokens in texts_of(small_corpus, "sts", np.flatnonzero(selected))]
    assert gone and all(sentence in kept for sentence in found)
    assert not any(sentence in found for sentence in gone if sentence not in kept)


def test_one_distinct_sentence_is_too_few(small_corpus: TokenisedCorpus, configure: MakeConfig) -> None:
    corpus = with_texts(small_corpus, wiki=(table([7, 8], [7, 8], []),))
    config = configure(stages__simcse__text="wiki")
    with pytest.raises(UserError, match="1 distinct sentence"):
        training_sentences(corpus, config, stage(config, "simcse"))


def test_triplets_are_the_three_columns_of_the_text(
    small_corpus: TokenisedCorpus, configure: MakeConfig
) -> None:
    columns = (table([7, 8, 9], [10]), table([11], [12, 13, 14]), table([15], [16]))
    corpus = with_texts(small_corpus, triplets=columns)
    config = configure(stages__supervised__max_length=4)
    found = [listed(column) for column in triplets(corpus, stage(config, "supervised"))]
    assert found == [
        [[CLS, 7, 8, SEP], [CLS, 10, SEP]],
        [[CLS, 11, SEP], [CLS, 12, 13, SEP]],
        [[CLS, 15, SEP], [CLS, 16, SEP]],
    ]


@pytest.mark.parametrize("selection", ["dev_half", "train_holdout"])
def test_positive_pairs_are_the_training_pairs_with_label_1(
    small_corpus: TokenisedCorpus, configure: MakeConfig, selection: str
) -> None:
    config = configure(selection=selection, stages__supervised__task="qqp", stages__supervised__max_length=64)
    train = small_corpus.splits["qqp"]["train"]
    assert train.labels is not None and train.selected is not None
    rows = [
        row
        for row in range(40)
        if train.labels[row] == 1 and not (selection == "train_holdout" and train.selected[row])
    ]
    assert 2 < len(rows) < 40
    found = positive_pairs(small_corpus, config, stage(config, "supervised"), "qqp")
    assert [listed(column) for column in found] == [
        [[CLS, *column[row].tolist(), SEP] for row in rows] for column in train.columns
    ]


def test_a_task_without_two_positive_pairs_is_refused(
    small_corpus: TokenisedCorpus, configure: MakeConfig
) -> None:
    config = configure(stages__supervised__task="qqp")
    train = small_corpus.splits["qqp"]["train"]
    labels = np.zeros(40, dtype=np.float32)
    labels[3] = 1
    poor = dataclasses.replace(
        small_corpus,
        splits={**small_corpus.splits, "qqp": {"train": dataclasses.replace(train, labels=labels)}},
    )
    with pytest.raises(UserError, match="'qqp': 1 positive training pair"):
        positive_pairs(poor, config, stage(config, "supervised"), "qqp")
