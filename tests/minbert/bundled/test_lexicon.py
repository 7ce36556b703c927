"""Nouns and verbs have their forms."""

from __future__ import annotations

import pytest

from minbert.bundled.lexicon import past, plural


@pytest.mark.parametrize(
    ("word", "many"),
    [("thief", "thieves"), ("coach", "coaches"), ("policeman", "policemen")],
)
def test_plurals(word: str, many: str) -> None:
    assert plural(word) == many


@pytest.mark.parametrize(("verb", "form"), [("steal", "stole"), ("hug", "hugged"), ("love", "loved")])
def test_past_tense(verb: str, form: str) -> None:
    assert past(verb) == form
