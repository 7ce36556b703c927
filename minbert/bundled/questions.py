"""Questions of the miniature world: what is asked, by kind of question, drawn and put into words."""

from __future__ import annotations

import random
from dataclasses import dataclass

from minbert.bundled.lexicon import (
    COMPARISONS,
    SCENES,
    TO_PEOPLE,
    TO_THINGS,
    TOWNS,
    TRAITS,
    VEHICLES,
    Concept,
    Scene,
    Words,
    opposite,
    participle,
    past,
)


@dataclass(frozen=True)
class Intent:
    """A kind of question: its slots, templates that all ask the same, and two slots that must not be swapped."""

    slots: tuple[str, ...]
    templates: tuple[str, ...]
    swap: tuple[str, str] | None = None


INTENTS = {
    "travel": Intent(
        ("a", "b", "vehicle"),
        (
            "how do i get from {a} to {b} by {vehicle}",
            "what is the best way to travel to {b} from {a} by {vehicle}",
            "can i take a {vehicle} from {a} to {b}",
            "which {vehicle} goes to {b} from {a}",
        ),
        swap=("a", "b"),
    ),
    "compare": Intent(
        ("a", "b", "more"),
        (
            "is {a} {more} than {b}",
            "is {b} {less} than {a}",
            "would you say that {a} is {more} than {b}",
            "do people think that {b} is {less} than {a}",
        ),
        swap=("a", "b"),
    ),
    "why": Intent(
        ("a", "b", "verb"),
        (
            "why did the {a} {verb} the {b}",
            "why was the {b} {done} by the {a}",
            "what made the {a} {verb} the {b}",
            "for what reason was the {b} {done} by the {a}",
        ),
        swap=("a", "b"),
    ),
    "who": Intent(
        ("b", "verb", "place"),
        ("who {did} the {b} in the {place}", "by whom was the {b} {done} in the {place}", "in the {place} who {did} the {b}")
    ),
    "whom": Intent(
        ("b", "verb", "place"),
        ("who did the {b} {verb} in the {place}", "who was {done} by the {b} in the {place}", "in the {place} who was {done} by the {b}")
    ),
    "where": Intent(
        ("town", "verb", "trait", "thing"),
        (
            "where in {town} can i {verb} a {trait} {thing}",
            "what is a good place to {verb} a {trait} {thing} in {town}",
            "is there a shop in {town} where i can {verb} a {trait} {thing}",
        )
    ),
    "how": Intent(
        ("verb", "trait", "thing"),
        (
            "how do i {verb} a {trait} {thing}",
            "what is the best way to {verb} a {trait} {thing}",
            "how should one {verb} a {trait} {thing}",
            "what do i need to {verb} a {trait} {thing}",
        )
    ),
    "film": Intent(
        ("a", "b"),
        (
            "is the film about the {a} and the {b} any good",
            "should i watch the movie about the {b} and the {a}",
            "is it worth seeing the film about the {a} and the {b}",
        )
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Question:
    """What is asked: a kind of question and what fills its slots."""

    intent: str
    slots: dict[str, Concept]
    scene: Scene


def draw_question(rng: random.Random, intent: str | None = None, scene: Scene | None = None) -> Question:
    """Draw a question of one kind or any."""
    intent = intent or rng.choice(tuple(INTENTS))
    scene = scene or rng.choice(SCENES)
    slots: dict[str, Concept] = {}
    for name in INTENTS[intent].slots:
        slots[name] = rng.choice(
            [option for option in slot_options(intent, name, scene) if option not in slots.values()]
        )
    return Question(intent, slots, scene)


def slot_options(intent: str, name: str, scene: Scene) -> tuple[Concept, ...]:
    """Return what may fill a slot of a question."""
    if name in {"a", "b"}:
        return TOWNS if intent in {"travel", "compare"} else scene.people
    if name == "verb":
        return tuple(verb.words for verb in (TO_THINGS if intent in {"where", "how"} else TO_PEOPLE))
    options = {
        "vehicle": VEHICLES,
        "more": COMPARISONS,
        "place": scene.places,
        "town": TOWNS,
        "trait": TRAITS,
    }
    return scene.objects if name == "thing" else options[name]


def ask(question: Question, rng: random.Random) -> Words:
    """Put a question into words by one of its templates and any synonyms."""
    words = {name: rng.choice(concept) for name, concept in question.slots.items()}
    if "more" in words:
        words["less"] = rng.choice(opposite(COMPARISONS, question.slots["more"]))
    if "verb" in words:
        words |= {"did": past(words["verb"]), "done": participle(words["verb"])}
    return rng.choice(INTENTS[question.intent].templates).format(**words).split()
