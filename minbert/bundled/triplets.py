"""Triplets with meaning, in words of the grammar: an event, what follows from it, and what contradicts it."""

from __future__ import annotations

import random
from dataclasses import replace

from minbert.bundled.events import Event, draw_event, tell
from minbert.bundled.lexicon import TIMES, TRAITS, Words, opposite
from minbert.bundled.questions import ask, draw_question
from minbert.bundled.reviews import draw_review, judge


def draw_sentence(rng: random.Random) -> tuple[Words, str]:
    """Draw an event, a question or a review in words, and its end mark."""
    kind = rng.random()
    if kind < 0.5:
        return tell(draw_event(rng), rng), " ."
    if kind < 0.8:
        return ask(draw_question(rng), rng), "?"
    return judge(draw_review(rng), rng), " ."


def draw_triplet(rng: random.Random) -> tuple[Words, Words, Words]:
    """Draw an event in words, another telling of it or of what follows from it, and of what contradicts it."""
    event = draw_event(rng)
    first = tell(event, rng)
    follows = follow(event, rng)
    second = next(words for words in iter(lambda: tell(follows, rng), None) if words != first)
    return first, second, tell(contradict(event, rng), rng)


def follow(event: Event, rng: random.Random) -> Event:
    """The event itself, or a more general one that is true whenever it is.

    That something did not happen in one place does not say that it did not happen, so an event
    that did not happen stays as it is.
    """
    details = [
        name
        for name, value in {
            "place": event.place,
            "time": event.time,
            "agent": event.agent.trait,
            "patient": event.patient.trait,
        }.items()
        if value is not None
    ]
    if event.negated or not details or rng.random() < 0.5:
        return event
    dropped = rng.choice(details)
    less = None if dropped in ("place", "time") else replace(getattr(event, dropped), trait=None)
    return replace(event, **{dropped: less})  # type: ignore[arg-type]


def contradict(event: Event, rng: random.Random) -> Event:
    """An event that is told with most of the same words and is not true when the given one is.

    It is denied, its opposite is done, or one fact is another: who, to whom, where, when, what like.
    An event that did not happen is only contradicted by saying that it did.
    """
    if event.negated:
        return replace(event, negated=False)
    kind = rng.random()
    if kind < 0.35:
        return replace(event, negated=True)
    if kind < 0.65:
        return replace(event, verb=event.verbs[event.verb.opposite])
    return rng.choice(_other_facts(event, rng))


def _other_facts(event: Event, rng: random.Random) -> list[Event]:
    """The event with one fact changed, in every way that there is."""
    taken = (event.agent.concept, event.patient.concept)
    people = [person for person in event.scene.people if person not in taken]
    things = people if event.to_person else [thing for thing in event.scene.objects if thing not in taken]
    facts = [
        replace(event, agent=replace(event.agent, concept=rng.choice(people))),
        replace(event, patient=replace(event.patient, concept=rng.choice(things))),
    ]
    if event.to_person:
        facts.append(replace(event, agent=event.patient, patient=event.agent))
    if event.place:
        facts.append(replace(event, place=rng.choice([p for p in event.scene.places if p != event.place])))
    if event.time:
        facts.append(replace(event, time=rng.choice([time for time in TIMES if time != event.time])))
    for role in ("agent", "patient"):
        noun = getattr(event, role)
        if noun.trait:
            facts.append(replace(event, **{role: replace(noun, trait=opposite(TRAITS, noun.trait))}))
    return facts
