"""The corpus means what its labels say, and the encoder's vocabulary covers it."""

from __future__ import annotations

import csv
import random
from dataclasses import replace
from itertools import pairwise

import pytest
from tokenizers import BertWordPieceTokenizer

from minbert.bundled import CORPUS, ENCODER
from minbert.bundled.events import Event, draw_event
from minbert.bundled.make_corpus import FLIPPED, SIZES, STEMS, near_miss, question_example, similarity
from minbert.bundled.questions import ask, draw_question

SAMPLES = 300


def rows(task: str, split: str) -> list[list[str]]:
    name = f"{STEMS[task]}-{'test-student' if split == 'test' else split}.csv"
    with (CORPUS / name).open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter="\t"))[1:]


def events() -> list[Event]:
    rng = random.Random(0)
    return [draw_event(rng) for _ in range(SAMPLES)]


def test_a_retelling_is_as_similar_as_can_be_and_similarity_has_no_direction() -> None:
    drawn = events()
    assert {similarity(event, event) for event in drawn} == {5.0}
    for one, two in pairwise(drawn):
        assert similarity(one, two) == similarity(two, one) < 5.0


def test_swapped_roles_negation_and_opposite_actions_cost_more_than_a_place() -> None:
    drawn = [event for event in events() if event.to_person and event.place]
    assert len(drawn) > 20
    for event in drawn:
        elsewhere = similarity(event, replace(event, place=None))
        swapped = replace(event, agent=event.patient, patient=event.agent)
        for changed in (
            swapped,
            replace(event, negated=not event.negated),
            replace(event, verb=event.verbs[event.verb.opposite]),
        ):
            assert similarity(event, changed) <= 3.2 < elsewhere < 5.0


def test_a_near_miss_is_never_the_same_question() -> None:
    rng = random.Random(2)
    for _ in range(SAMPLES):
        question = draw_question(rng)
        other = near_miss(question, rng)
        assert other.intent == question.intent
        assert other.slots != question.slots
        assert not {" ".join(ask(question, rng)) for _ in range(20)} & {
            " ".join(ask(other, rng)) for _ in range(20)
        }


def test_some_labels_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = [question_example(random.Random(seed))[-1] for seed in range(4000)]
    monkeypatch.setattr("minbert.bundled.make_corpus.FLIPPED", 0.0)
    clean = [question_example(random.Random(seed))[-1] for seed in range(4000)]
    wrong = sum(one != two for one, two in zip(noisy, clean, strict=True)) / len(clean)
    assert wrong == pytest.approx(FLIPPED, abs=0.015)


@pytest.mark.parametrize("task", SIZES)
def test_splits_have_their_sizes_and_share_no_text(task: str) -> None:
    texts = {
        split: [tuple(row[2 : 3 + (task != "sst")]) for row in rows(task, split)] for split in SIZES[task]
    }
    assert {split: len(examples) for split, examples in texts.items()} == SIZES[task]
    everything = [example for examples in texts.values() for example in examples]
    assert len(set(everything)) == len(everything)


def test_every_word_of_the_corpus_is_one_piece_and_any_other_word_can_be_spelt() -> None:
    tokenizer = BertWordPieceTokenizer(str(ENCODER / "vocab.txt"), lowercase=True)
    for task, splits in SIZES.items():
        for split in splits:
            for row in rows(task, split):
                for text in row[2 : 3 + (task != "sst")]:
                    tokens = tokenizer.encode(text).tokens
                    assert not [token for token in tokens if token.startswith("##") or token == "[UNK]"], text
    assert "[UNK]" not in tokenizer.encode("Zebra-xylophones cost $3.50, don't they?").tokens
