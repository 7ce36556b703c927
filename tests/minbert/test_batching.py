"""Sequences of a batch: special tokens, pairs, token types, truncation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from minbert.corpora.batching import Batch, Batcher, truncate_pair
from minbert.corpora.tokenised import TokenisedCorpus
from minbert.encoder import BertEncoder, EncoderConfig, pack
from minbert.heads import Inputs
from minbert.pooling import pool

CLS, SEP = 2, 3
CPU = torch.device("cpu")


def sequences(batch: Batch) -> list[tuple[list[int], list[int], list[int]]]:
    """Ids, token types and positions of each sequence in the order in which they were asked for."""
    packed = batch.packed
    parts = [part.split(list(packed.lengths)) for part in (packed.ids, packed.segments, packed.positions)]
    return [tuple(part[row].tolist() for part in parts) for row in packed.rows.tolist()]  # type: ignore[misc]


def batcher(corpus: TokenisedCorpus, pairs: Inputs, max_length: int = 40) -> Batcher:
    return Batcher(corpus, {"sst": "single", "qqp": pairs, "sts": pairs}, max_length, CPU)


ROWS = np.array([3, 0, 17])


def test_single_sentences_stand_between_cls_and_sep(small_corpus: TokenisedCorpus) -> None:
    table = small_corpus.splits["sst"]["train"].columns[0]
    batch = batcher(small_corpus, "joint").batch("train", [("sst", ROWS)])
    for row, (ids, kinds, positions) in zip(ROWS, sequences(batch), strict=True):
        assert ids == [CLS, *table[row].tolist(), SEP]
        assert kinds == [0] * len(ids) and positions == list(range(len(ids)))


def test_joint_pairs_have_token_type_1_from_the_second_text_on(small_corpus: TokenisedCorpus) -> None:
    first, second = small_corpus.splits["qqp"]["train"].columns
    batch = batcher(small_corpus, "joint").batch("train", [("qqp", ROWS)])
    for row, (ids, kinds, _) in zip(ROWS, sequences(batch), strict=True):
        one, two = first[row].tolist(), second[row].tolist()
        assert ids == [CLS, *one, SEP, *two, SEP]
        assert kinds == [0] * (len(one) + 2) + [1] * (len(two) + 1)


@pytest.mark.parametrize("max_length", [40, 12, 9])
def test_both_orders_of_a_pair_hold_the_same_tokens(small_corpus: TokenisedCorpus, max_length: int) -> None:
    """Also where the pair is cut and the budget is odd: the first order is the joint pass."""
    rows = np.arange(40)
    batch = batcher(small_corpus, "both_orders", max_length).batch("train", [("qqp", rows)])
    joint = sequences(batcher(small_corpus, "joint", max_length).batch("train", [("qqp", rows)]))
    assert batch.parts[0].sequences == (slice(0, 40), slice(40, 80))
    assert batch.parts[0].labels is not None and len(batch.parts[0].labels) == 40
    found = sequences(batch)
    assert found[:40] == joint
    for (forward, _, _), (backward, kinds, positions) in zip(found[:40], found[40:], strict=True):
        middle = forward.index(SEP)
        one, two = forward[1:middle], forward[middle + 1 : -1]
        assert backward == [CLS, *two, SEP, *one, SEP]
        assert kinds == [0] * (len(two) + 2) + [1] * (len(one) + 1)
        assert positions == list(range(len(backward)))
    longest = max(len(ids) for ids, _, _ in found)
    assert longest == max_length if max_length < 40 else longest < 40


def test_separate_pairs_are_two_runs_of_single_sentences(small_corpus: TokenisedCorpus) -> None:
    columns = small_corpus.splits["sts"]["train"].columns
    batch = batcher(small_corpus, "separate").batch("train", [("sts", ROWS)])
    found = sequences(batch)
    assert batch.parts[0].sequences == (slice(0, 3), slice(3, 6))
    for place, table in zip(batch.parts[0].sequences, columns, strict=True):
        assert [ids for ids, _, _ in found[place]] == [[CLS, *table[row].tolist(), SEP] for row in ROWS]
    assert not batch.packed.segments.any()


def test_a_batch_of_several_tasks_keeps_their_sequences_and_labels_apart(
    small_corpus: TokenisedCorpus,
) -> None:
    requests = [("sst", ROWS), ("qqp", ROWS[:2]), ("sts", ROWS)]
    maker = batcher(small_corpus, "separate")
    together = maker.batch("train", requests)
    found = sequences(together)
    for (task, rows), part in zip(requests, together.parts, strict=True):
        alone = sequences(maker.batch("train", [(task, rows)]))
        assert part.task == task
        assert [sequence for place in part.sequences for sequence in found[place]] == alone
        labels = small_corpus.splits[task]["train"].labels
        assert labels is not None and part.labels is not None
        assert part.labels.tolist() == labels[rows].tolist()


def test_a_split_without_labels_gives_none(small_corpus: TokenisedCorpus) -> None:
    assert batcher(small_corpus, "joint").batch("test", [("sst", ROWS[:2])]).parts[0].labels is None


@pytest.mark.parametrize("pairs", ["joint", "separate", "both_orders"])
def test_no_sequence_is_longer_than_max_length(small_corpus: TokenisedCorpus, pairs: Inputs) -> None:
    rows = np.arange(40)
    found = sequences(batcher(small_corpus, pairs, 9).batch("train", [("qqp", rows)]))
    assert max(len(ids) for ids, _, _ in found) == 9
    assert all(ids[0] == CLS and ids[-1] == SEP for ids, _, _ in found)
    if pairs != "separate":
        assert all(ids.count(SEP) == 2 for ids, _, _ in found)


@pytest.mark.parametrize("budget", [1, 2, 5, 6, 13])
def test_a_pair_loses_tokens_of_its_longer_text_one_at_a_time(budget: int) -> None:
    for first in range(12):
        for second in range(12):
            one, two = first, second
            while one + two > budget:
                one, two = (one - 1, two) if one > two else (one, two - 1)
            assert truncate_pair(first, second, budget) == (one, two)


@pytest.mark.parametrize("pairs", ["joint", "separate", "both_orders"])
def test_runs_in_order_of_length_hold_the_rows_once_and_about_the_budget(
    small_corpus: TokenisedCorpus, pairs: Inputs
) -> None:
    maker = batcher(small_corpus, pairs)
    rows = np.arange(1, 40, 2)
    runs = list(maker.in_order_of_length("qqp", "train", rows, 100))
    assert len(runs) > 3
    assert sorted(np.concatenate(runs).tolist()) == rows.tolist()
    sizes = [maker.batch("train", [("qqp", run)]).packed.lengths for run in runs]
    assert max(map(sum, sizes)) <= 100 + max(map(max, sizes)) * (1 if pairs == "joint" else 2)
    if pairs != "separate":  # whose two sentences are of different lengths
        assert all(max(one) <= min(two) for one, two in itertools.pairwise(sizes))


def test_rounding_up_the_tokens_changes_no_vector() -> None:
    torch.manual_seed(0)
    encoder = BertEncoder(EncoderConfig(50, 32, 2, 4, 64, max_position_embeddings=64))
    sequences = [np.arange(1, n) for n in (5, 9, 6, 20)]
    ends = [len(sequence) for sequence in sequences]
    plain, rounded = pack(sequences, ends), pack(sequences, ends, multiple=64)
    assert (plain.tokens, rounded.tokens, len(rounded.ids)) == (36, 36, 64)
    vectors = [pool(encoder(batch), batch, "mean", encoder) for batch in (plain, rounded)]
    assert vectors[1].shape == (4, 32)
    torch.testing.assert_close(vectors[0], vectors[1])
