"""The text that the bundled encoder is pre-trained on: pairs of a sentence and a paraphrase of it.

A paraphrase may repeat its sentence or be free, and some of its words may have been exchanged
for others; now and then the second sentence has nothing to do with the first.
"""

from __future__ import annotations

import random
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from minbert.bundled.events import draw_event, tell
from minbert.bundled.lexicon import (
    COMPARISONS,
    DEGREES,
    NUMBERS,
    SCENES,
    TO_PEOPLE,
    TO_THINGS,
    TOWNS,
    TRAITS,
    VALUES,
    VEHICLES,
    Words,
    participle,
    past,
    plural,
)
from minbert.bundled.questions import ask, draw_question
from minbert.bundled.reviews import draw_review, judge

STRANGE = 0.15
"""Share of the pairs whose sentences have nothing to do with each other."""
VERDICTS = {
    2: "love adore",
    1: "praise commend",
    0: "watch observe",
    -1: "criticise condemn",
    -2: "hate detest",
}
"""What the public does with a film, by the film's worth."""
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def _kinds() -> list[Sequence[Iterable[str]]]:
    people = [concept for scene in SCENES for concept in scene.people]
    things = [concept for scene in SCENES for concept in scene.objects]
    deeds = [verb.words for verb in (*TO_PEOPLE, *TO_THINGS)]
    return [
        [*people],
        [[plural(word) for word in concept] for concept in people],
        [*things],
        [[plural(word) for word in concept] for concept in things],
        [*deeds],
        [[inflect(word) for word in concept] for inflect in (past, participle) for concept in deeds],
        [concept for scene in SCENES for concept in scene.places],
        *[[*concepts] for concepts in (TRAITS, COMPARISONS, TOWNS, VEHICLES, VALUES.values())],
        *[[[word] for word in words if word] for words in (DEGREES, NUMBERS)],
    ]


SYNONYMS = {word: tuple(group) for groups in reversed(_kinds()) for group in groups for word in group}
"""Words that say the same, by word; judgements of one worth among them."""
LIKES = {
    word: tuple(dict.fromkeys(w for group in groups for w in group))
    for groups in reversed(_kinds())
    for group in groups
    for word in group
}
"""Words of the same kind, which can stand in each other's place and say something else, by word."""


class Pair(NamedTuple):
    """Two sentences, which words of the second are foreign, and whether it has to do with the first at all."""

    first: Words
    second: Words
    foreign: list[bool]
    related: bool = True


def draw_pair(rng: random.Random, freedom: float) -> Pair:
    """Draw a pair; ``freedom`` goes from 0 (a paraphrase repeats its sentence) to 1."""
    say = rng.choices((_two_events, _two_questions, _two_reviews), (0.4, 0.3, 0.3))[0]
    first, second = say(rng)
    if rng.random() < STRANGE:
        _, strange = say(rng)
        return Pair(first, strange, [False] * len(strange), related=False)
    if rng.random() > 0.6 * freedom:
        second = [
            rng.choice(SYNONYMS.get(word, (word,))) if rng.random() < 0.6 * freedom else word
            for word in first
        ]
    disturbed = disturb(second, rng)
    return Pair(first, disturbed, [new != old for new, old in zip(disturbed, second, strict=True)])


def disturb(words: Words, rng: random.Random) -> Words:
    """Exchange two words of one kind, or put others of their kind in the place of some, or leave all as it is."""
    manner = rng.random()
    if manner < 0.2:
        places = [(i, j) for j, word in enumerate(words) for i in range(j) if words[i] in LIKES.get(word, ())]
        if places:
            i, j = rng.choice(places)
            return [*words[:i], words[j], *words[i + 1 : j], words[i], *words[j + 1 :]]
    elif manner < 0.6:
        return [rng.choice(LIKES[word]) if word in LIKES and rng.random() < 0.3 else word for word in words]
    return words


def _two_events(rng: random.Random) -> tuple[Words, Words]:
    event = draw_event(rng)
    return [*tell(event, rng), "."], [*tell(event, rng), "."]


def _two_questions(rng: random.Random) -> tuple[Words, Words]:
    question = draw_question(rng)
    return [*ask(question, rng), "?"], [*ask(question, rng), "?"]


def _two_reviews(rng: random.Random) -> tuple[Words, Words]:
    """Put a review into words twice, or once followed by what the public does with the film."""
    review = draw_review(rng)
    again = judge(review, rng)
    if rng.random() < 0.5:
        public = plural(rng.choice(rng.choice(rng.choice(SCENES).people)))
        verbs = VERDICTS[max(-2, min(2, round(review.worth)))]
        again = [public, rng.choice(verbs.split()), "it"]
    return [*judge(review, rng), "."], [*again, "."]


def build_vocabulary(rng: random.Random) -> list[str]:
    """Return the word-pieces: every word of the grammar, and characters to spell any other word with."""
    counts = Counter(["an"])
    for _ in range(40_000):
        pair = draw_pair(rng, 1.0)
        counts.update([*pair.first, *pair.second])
    words = sorted(counts, key=lambda word: (-counts[word], word))
    characters = [*string.ascii_lowercase, *string.digits]
    pieces = [*string.punctuation, *characters, *(f"##{character}" for character in characters)]
    return [*SPECIAL, *words, *(piece for piece in pieces if piece not in counts)]
