"""Make the bundled corpus: ``python -m minbert.bundled.make_corpus [--out FOLDER]``.

Nine tab-separated files in the CS224N layout, ``sentences.txt`` (a sentence a line) and ``nli.csv``
(triplets sent0, sent1, hard_neg). Every label is computed from the meaning
that was drawn, then disturbed a little: a share of the class labels moves to a
neighbouring class and every similarity gets some noise, as human labels do.
"""

from __future__ import annotations

import argparse
import csv
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from minbert.bundled import CORPUS
from minbert.bundled.events import Event, Noun, draw_event, tell
from minbert.bundled.lexicon import COMPARISONS, TIMES, TOWNS, TRAITS, Words, opposite
from minbert.bundled.questions import INTENTS, Question, ask, draw_question, slot_options
from minbert.bundled.reviews import draw_review, judge
from minbert.bundled.triplets import draw_sentence, draw_triplet

SEED = 224
TEXT_SEED = 225
SIZES = {
    "sst": {"train": 1200, "dev": 400, "test": 200},
    "qqp": {"train": 1600, "dev": 400, "test": 200},
    "sts": {"train": 1200, "dev": 400, "test": 200},
}
"""Examples by task and split."""
SENTENCES = 3000
TRIPLETS = 1200
STEMS = {"sst": "ids-sst", "qqp": "quora", "sts": "sts"}
COLUMNS = {
    "sst": ("sentence", "sentiment"),
    "qqp": ("sentence1", "sentence2", "is_duplicate"),
    "sts": ("sentence1", "sentence2", "similarity"),
}
FLIPPED = 0.06
"""Share of the class labels that are wrong."""
SIMILARITY_SPREAD = 0.75
"""Similarities are disturbed by up to this much (triangular: a standard deviation of about 0.3)."""
CAPITALISED = {"i", "monday", "friday", *(name for (name,) in TOWNS)}

Example = tuple[str, ...]
"""The texts of an example and its label, in the order of the task's columns."""


def write_corpus(folder: Path) -> None:
    """Write all files into a folder, which is made if need be; the same bytes every time."""
    folder.mkdir(parents=True, exist_ok=True)
    labelled = _write_tasks(folder, random.Random(SEED))
    rng = random.Random(TEXT_SEED)
    _write_sentences(folder / "sentences.txt", labelled, rng)
    _write_triplets(folder / "nli.csv", rng)


def _write_tasks(folder: Path, rng: random.Random) -> set[str]:
    """Write the tasks' nine files; returns their texts."""
    written: set[str] = set()
    for task, draw in {"sst": review_example, "qqp": question_example, "sts": event_example}.items():
        examples = _without_repeats(draw, rng)
        for split, size in SIZES[task].items():
            name = f"{STEMS[task]}-{'test-student' if split == 'test' else split}.csv"
            columns = COLUMNS[task][:-1] if split == "test" else COLUMNS[task]
            with (folder / name).open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, delimiter="\t", lineterminator="\n")
                writer.writerow(("", "id", *columns))
                for index in range(size):
                    example = next(examples)[: len(columns)]
                    writer.writerow((index, f"{rng.getrandbits(100):025x}", *example))
                    written.update(example[: len(COLUMNS[task]) - 1])
    return written


def _write_sentences(path: Path, labelled: set[str], rng: random.Random) -> None:
    """Write sentences that no task has: what is trained on them has not seen a dev or test text."""
    seen = set(labelled)
    with path.open("w", encoding="utf-8", newline="") as file:
        while len(seen) < len(labelled) + SENTENCES:
            words, end = draw_sentence(rng)
            text = sentence(words, end)
            if text not in seen:
                seen.add(text)
                file.write(text + "\n")


def _write_triplets(path: Path, rng: random.Random) -> None:
    triplets = _without_repeats(lambda stream: tuple(map(sentence, draw_triplet(stream))), rng)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("sent0", "sent1", "hard_neg"))
        writer.writerows(next(triplets) for _ in range(TRIPLETS))


def _without_repeats(draw: Callable[[random.Random], Example], rng: random.Random) -> Iterator[Example]:
    seen: set[Example] = set()
    while True:
        example = draw(rng)
        if example[:-1] not in seen:
            seen.add(example[:-1])
            yield example


def sentence(words: Words, end: str = " .") -> str:
    """Join words into a sentence: capitals where English has them, "an" before a vowel, an end mark."""
    spelt = [word.capitalize() if word in CAPITALISED else word for word in words]
    spelt = ["an" if word == "a" and after[0] in "aeiou" else word for word, after in pairwise([*spelt, end])]
    text = " ".join(spelt)
    return text[0].upper() + text[1:] + end


def review_example(rng: random.Random) -> Example:
    """Draw a review and its sentiment from 0 to 4."""
    review = draw_review(rng)
    worth = review.worth
    label = sum(worth > edge for edge in (-1.4, -0.4, 0.4, 1.4))
    if rng.random() < FLIPPED:
        label = min(4, max(0, label + rng.choice((-1, 1))))
    return sentence(judge(review, rng)), str(label)


def question_example(rng: random.Random) -> Example:
    """Draw two questions and whether they ask the same: paraphrases, near misses and a few strangers."""
    question = draw_question(rng)
    kind = rng.random()
    if kind < 0.42:
        other, same = question, True
    elif kind < 0.9:
        other, same = near_miss(question, rng), False
    else:
        other, same = draw_question(rng, scene=question.scene), False
    first = ask(question, rng)
    second = next(words for words in iter(lambda: ask(other, rng), None) if words != first)
    if rng.random() < FLIPPED:
        same = not same
    return sentence(first, "?"), sentence(second, "?"), str(float(same))


def near_miss(question: Question, rng: random.Random) -> Question:
    """Return a question of the same words but for one change that makes it another question."""
    swap = INTENTS[question.intent].swap
    slots = dict(question.slots)
    if swap and rng.random() < 0.5:
        first, second = swap
        return replace(question, slots=slots | {first: slots[second], second: slots[first]})
    name = rng.choice(sorted(slots))
    if name == "more" and rng.random() < 0.5:
        return replace(question, slots=slots | {name: opposite(COMPARISONS, slots[name])})
    options = [
        option
        for option in slot_options(question.intent, name, question.scene)
        if option not in slots.values()
    ]
    return replace(question, slots=slots | {name: rng.choice(options)})


def event_example(rng: random.Random) -> Example:
    """Draw two tellings of an event, changed in up to three places, and their similarity from 0 to 5."""
    event = draw_event(rng)
    if rng.random() < 0.15:
        other = draw_event(rng, event.scene if rng.random() < 0.6 else None)
    else:
        other = event
        for _ in range(rng.choice((0, 0, 1, 1, 1, 2, 2, 3))):
            other = change(other, rng)
    first = tell(event, rng)
    second = next(words for words in iter(lambda: tell(other, rng), None) if words != first)
    noisy = similarity(event, other) + rng.triangular(-SIMILARITY_SPREAD, SIMILARITY_SPREAD)
    return sentence(first), sentence(second), f"{min(5.0, max(0.0, noisy)):.1f}"


def change(event: Event, rng: random.Random) -> Event:  # noqa: PLR0911 - one return a kind of change
    """Change one thing about an event: who does it to whom, what is done, or a circumstance."""
    kind = rng.choice(
        (
            "swap",
            "swap",
            "opposite",
            "verb",
            "negation",
            "negation",
            "agent",
            "patient",
            "place",
            "time",
            "noun",
        )
    )
    if kind == "swap" and event.to_person:
        return replace(event, agent=event.patient, patient=event.agent)
    if kind == "opposite":
        return replace(event, verb=event.verbs[event.verb.opposite])
    if kind == "verb":
        return replace(event, verb=rng.choice([verb for verb in event.verbs if verb != event.verb]))
    if kind == "negation":
        return replace(event, negated=not event.negated)
    if kind == "place":
        return replace(
            event, place=rng.choice([place for place in event.scene.places if place != event.place])
        )
    if kind == "time":
        return replace(event, time=rng.choice([time for time in TIMES if time != event.time]))
    if kind == "noun":
        return replace(event, agent=_other_trait(event.agent, rng))
    taken = {event.agent.concept, event.patient.concept}
    if kind == "patient" and not event.to_person:
        things = [thing for thing in event.scene.objects if thing not in taken]
        return replace(event, patient=replace(event.patient, concept=rng.choice(things)))
    role = "patient" if kind == "patient" else "agent"
    person = rng.choice([person for person in event.scene.people if person not in taken])
    return replace(event, **{role: replace(getattr(event, role), concept=person)})


def _other_trait(noun: Noun, rng: random.Random) -> Noun:
    if noun.trait:
        return replace(noun, trait=opposite(TRAITS, noun.trait))
    return replace(noun, trait=rng.choice(TRAITS))


def similarity(one: Event, two: Event) -> float:
    """Return how alike two events are, from 0 (nothing in common) to 5 (the same).

    Roles, the action and whether it happened weigh most; place, time and traits least.
    """
    cost = _participants_cost(one, two)
    if one.verb != two.verb:
        cost += 1.8 if one.verbs[one.verb.opposite] == two.verb else 1.4
    cost += 2.0 * (one.negated != two.negated)
    for first, second in ((one.place, two.place), (one.time, two.time)):
        cost += 0.0 if first == second else 0.3 if None in (first, second) else 0.5
    return max(0.0, 5.0 - cost)


def _participants_cost(one: Event, two: Event) -> float:
    crossed = (one.agent.concept, one.patient.concept) == (two.patient.concept, two.agent.concept)
    if crossed:
        return 2.2 + _noun_cost(one.agent, two.patient) + _noun_cost(one.patient, two.agent)
    return _noun_cost(one.agent, two.agent) + _noun_cost(one.patient, two.patient)


def _noun_cost(one: Noun, two: Noun) -> float:
    if one.concept != two.concept:
        return 1.4
    trait = 0.0 if one.trait == two.trait else 0.3 if None in (one.trait, two.trait) else 0.6
    return trait + 0.4 * (one.count != two.count)


def main() -> None:
    """Write the corpus where the package expects it, or into --out."""
    parser = argparse.ArgumentParser(
        prog="python -m minbert.bundled.make_corpus", description=write_corpus.__doc__
    )
    parser.add_argument(
        "--out", type=Path, default=CORPUS, help="folder to write into (default: the package's own)"
    )
    write_corpus(parser.parse_args().out)


if __name__ == "__main__":
    main()
