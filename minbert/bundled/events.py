"""Events of the miniature world: who did what to whom, where and when, drawn and put into words."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TypeVar

from minbert.bundled.lexicon import (
    NUMBERS,
    SCENES,
    TIMES,
    TO_PEOPLE,
    TO_THINGS,
    TRAITS,
    Concept,
    Scene,
    Verb,
    Words,
    participle,
    past,
    plural,
)

Option = TypeVar("Option")


@dataclass(frozen=True)
class Noun:
    """Who or what takes part: a concept, how many ("the" for one) and a trait."""

    concept: Concept
    count: str = "the"
    trait: Concept | None = None


@dataclass(frozen=True)
class Event:
    """Who did what to whom, where and when, or that it did not happen."""

    scene: Scene
    agent: Noun
    verb: Verb
    patient: Noun
    to_person: bool
    place: Concept | None
    time: str | None
    negated: bool

    @property
    def verbs(self) -> tuple[Verb, ...]:
        """The actions that fit this kind of patient."""
        return TO_PEOPLE if self.to_person else TO_THINGS


def draw_event(rng: random.Random, scene: Scene | None = None) -> Event:
    """Draw an event, in a given scene or any."""
    scene = scene or rng.choice(SCENES)
    to_person = rng.random() < 0.7
    agent, other = rng.sample(scene.people, 2)
    return Event(
        scene=scene,
        agent=_draw_noun(rng, agent),
        verb=rng.choice(TO_PEOPLE if to_person else TO_THINGS),
        patient=_draw_noun(rng, other if to_person else rng.choice(scene.objects)),
        to_person=to_person,
        place=_maybe(rng, 0.35, scene.places),
        time=_maybe(rng, 0.2, TIMES),
        negated=rng.random() < 0.15,
    )


def _draw_noun(rng: random.Random, concept: Concept) -> Noun:
    """Draw how many of a concept there are and what they are like."""
    return Noun(concept, _maybe(rng, 0.2, NUMBERS) or "the", _maybe(rng, 0.25, TRAITS))


def tell(event: Event, rng: random.Random) -> Words:
    """Put an event into words: active, passive or cleft, place and time first or last."""
    agent, patient = _noun_phrase(event.agent, rng), _noun_phrase(event.patient, rng)
    verb = rng.choice(event.verb.words)
    voice = rng.random()
    if voice < 0.4:
        clause = [*patient, "were" if event.patient.count != "the" else "was"]
        clause += ["not"] * event.negated + [participle(verb), "by", *agent]
    else:
        action = ["did", "not", verb] if event.negated else [past(verb)]
        clause = [
            *(["it", "was"] if voice > 0.85 else []),
            *agent,
            *(["who"] if voice > 0.85 else []),
            *action,
            *patient,
        ]
    where = ["in", "the", rng.choice(event.place)] if event.place else []
    when = event.time.split() if event.time else []
    if where and rng.random() < 0.3:
        return [*where, *clause, *when]
    if when and rng.random() < 0.3:
        return [*when, *clause, *where]
    return [*clause, *where, *when]


def _maybe(rng: random.Random, chance: float, options: tuple[Option, ...]) -> Option | None:
    """Return one of the options with the given probability, else None."""
    return rng.choice(options) if rng.random() < chance else None


def _noun_phrase(noun: Noun, rng: random.Random) -> Words:
    word = rng.choice(noun.concept)
    trait = [rng.choice(noun.trait)] if noun.trait else []
    return [noun.count, *trait, word if noun.count == "the" else plural(word)]
