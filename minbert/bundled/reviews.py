"""Reviews of films: one or two judgements and what they are worth together, drawn and put into words."""

from __future__ import annotations

import random
from dataclasses import dataclass

from minbert.bundled.lexicon import ASPECTS, DEGREES, GENRES, SCENES, VALUES, Words

JOINTS = {
    "and": ("{a} and {b}", 0.6, 0.6),
    "but": ("{a} but {b}", 0.2, 1.0),
    "although": ("although {a} , {b}", 0.2, 1.0),
    "despite": ("{a} , although {b}", 1.0, 0.2),
    "only": ("{a}", 1.0, 0.0),
}
"""How two clauses make a review, and what each of them weighs."""


@dataclass(frozen=True)
class Clause:
    """One judgement: a word's value and the degree word before it."""

    value: int
    degree: str

    @property
    def worth(self) -> float:
        """From about −3 to 3."""
        return self.value * DEGREES[self.degree]


@dataclass(frozen=True)
class Review:
    """Two judgements (the second one unused by "only") and how they are joined."""

    first: Clause
    second: Clause
    joint: str

    @property
    def worth(self) -> float:
        """From about −3 to 3."""
        _, first, second = JOINTS[self.joint]
        return first * self.first.worth + second * self.second.worth


def draw_review(rng: random.Random) -> Review:
    """Draw a review: "and" joins judgements of the same sign, "but" and "although" opposite ones."""
    while True:
        review = Review(_draw_clause(rng), _draw_clause(rng), rng.choice(tuple(JOINTS)))
        agreement = review.first.worth * review.second.worth
        if review.joint == "only" or (agreement >= 0 if review.joint == "and" else agreement < 0):
            return review


def _draw_clause(rng: random.Random) -> Clause:
    value = rng.choice((-2, -2, -1, -1, 0, 1, 1, 2, 2))
    return Clause(value, rng.choice(tuple(DEGREES)) if rng.random() < 0.45 else "")


def judge(review: Review, rng: random.Random) -> Words:
    """Put a review into words."""
    first, second = rng.sample(ASPECTS, 2)
    template = JOINTS[review.joint][0]
    words = template.format(a=_clause(review.first, first, rng), b=_clause(review.second, second, rng))
    return words.split()


def _clause(clause: Clause, aspect: str, rng: random.Random) -> str:
    value = f"{clause.degree} {rng.choice(VALUES[clause.value])}".strip()
    if rng.random() < 0.6:
        return f"the {aspect} is {value}"
    person = rng.choice(rng.choice(rng.choice(SCENES).people))
    return f"this {rng.choice(GENRES)} about a {person} is {value}"
