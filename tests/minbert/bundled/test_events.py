"""Events have opposites, and their tellings say who did it to whom."""

from __future__ import annotations

import random
from dataclasses import replace

from minbert.bundled.events import Event, draw_event, tell
from minbert.bundled.lexicon import Verb, plural

SAMPLES = 300


def events() -> list[Event]:
    rng = random.Random(0)
    return [draw_event(rng) for _ in range(SAMPLES)]


def opposite(event: Event) -> Verb:
    return event.verbs[event.verb.opposite]


def test_opposites_are_opposite_both_ways() -> None:
    for event in events():
        assert opposite(event) != event.verb
        assert opposite(replace(event, verb=opposite(event))) == event.verb


def test_who_did_it_to_whom_can_be_read_from_active_and_passive() -> None:
    event = next(e for e in events() if e.to_person and not e.negated and not e.place and not e.time)
    rng = random.Random(1)
    tellings = {" ".join(tell(event, rng)) for _ in range(200)}
    assert len(tellings) > 2
    agents, patients = (
        {form for word in noun.concept for form in (word, plural(word))}
        for noun in (event.agent, event.patient)
    )
    for telling in tellings:
        words = telling.split()
        agent = next(place for place, word in enumerate(words) if word in agents)
        patient = next(place for place, word in enumerate(words) if word in patients)
        assert (agent > patient) == ("by" in words), telling
