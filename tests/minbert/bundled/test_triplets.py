"""The bundled sentences and triplets mean what they should."""

from __future__ import annotations

import csv
import random
from dataclasses import fields

import pytest
from tokenizers import BertWordPieceTokenizer

from minbert.bundled import CORPUS, ENCODER
from minbert.bundled.events import Event, Noun, draw_event
from minbert.bundled.make_corpus import SENTENCES, TRIPLETS, similarity
from minbert.bundled.triplets import contradict, follow
from minbert.corpora.reader import read_corpus
from minbert.task_config import default_tasks

SAMPLES = 500


@pytest.fixture
def events() -> list[Event]:
    rng = random.Random(0)
    return [draw_event(rng) for _ in range(SAMPLES)]


def facts(event: Event) -> set[tuple[str, object]]:
    """What an event says, one statement each; what it leaves open is none."""
    said: set[tuple[str, object]] = set()
    for field in fields(event):
        value = getattr(event, field.name)
        if isinstance(value, Noun):
            said |= {(f"{field.name} {part.name}", getattr(value, part.name)) for part in fields(value)}
        else:
            said.add((field.name, value))
    return {(name, value) for name, value in said if value is not None}


def test_what_follows_says_nothing_that_the_event_does_not_say(events: list[Event]) -> None:
    rng = random.Random(1)
    more_general = 0
    for event in events:
        following = follow(event, rng)
        assert facts(following) <= facts(event)
        assert len(facts(event)) - len(facts(following)) in (0, 1)
        more_general += following != event
    assert more_general > SAMPLES / 8


def test_of_what_did_not_happen_nothing_more_general_follows(events: list[Event]) -> None:
    denied = [event for event in events if event.negated]
    assert len(denied) > 20
    assert all(follow(event, random.Random(n)) == event for n, event in enumerate(denied))


def test_a_contradiction_changes_what_is_said_and_leaves_nothing_out(events: list[Event]) -> None:
    rng = random.Random(2)
    kinds = set()
    for event in events:
        other = contradict(event, rng)
        changed = {name for name, _ in facts(event) - facts(other)}
        swapped = other.agent == event.patient  # traits go with the roles
        assert changed
        assert swapped or {name for name, _ in facts(other)} == {name for name, _ in facts(event)}
        assert similarity(event, other) < 5.0
        if event.negated:
            assert changed == {"negated"}
        kinds |= changed
    assert {"negated", "verb", "agent concept", "patient concept", "place", "time", "agent trait"} <= kinds


def test_sentences_and_triplets_have_their_sizes_and_no_text_twice() -> None:
    lines = (CORPUS / "sentences.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(set(lines)) == SENTENCES
    with (CORPUS / "nli.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["sent0", "sent1", "hard_neg"]
    assert len(rows) == len({tuple(row) for row in rows}) == TRIPLETS
    assert all(len(set(row)) == 3 for row in rows)


def test_no_sentence_stands_in_a_task_s_file() -> None:
    lines = set((CORPUS / "sentences.txt").read_text(encoding="utf-8").splitlines())
    splits = [
        split
        for by_split in read_corpus(CORPUS, default_tasks()).splits.values()
        for split in by_split.values()
    ]
    assert not lines & {text for split in splits for column in split.texts for text in column}


def test_every_word_is_one_piece() -> None:
    tokenizer = BertWordPieceTokenizer(str(ENCODER / "vocab.txt"), lowercase=True)
    for name in ("sentences.txt", "nli.csv"):
        for token in set(
            tokenizer.encode((CORPUS / name).read_text(encoding="utf-8").split("\n", 1)[1]).tokens
        ):
            assert not token.startswith("##") and token != "[UNK]", token
