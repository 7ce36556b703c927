"""The select and report halves of dev, and the tenth of train that is held out."""

from __future__ import annotations

import numpy as np
import pytest

from minbert.config import TaskKind
from minbert.corpora.halves import halves, holdout
from minbert.corpora.reader import Examples


def pairs(count: int, kind: TaskKind, seed: int = 0) -> Examples:
    rng = np.random.default_rng(seed)
    labels = rng.uniform(0, 5, count) if kind == "regression" else rng.integers(0, 2, count).astype(float)
    left = tuple(f"sentence {n}" for n in range(count))
    right = tuple(f"other {n}" for n in range(count))
    return Examples(tuple(f"id{n}" for n in range(count)), (left, right), labels)


def taken(examples: Examples, order: np.ndarray) -> Examples:
    assert examples.labels is not None
    texts = tuple(tuple(column[at] for at in order) for column in examples.texts)
    return Examples(tuple(f"new{at}" for at in order), texts, examples.labels[order])


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_every_label_is_split_evenly(kind: TaskKind) -> None:
    examples = pairs(501, kind)
    assert examples.labels is not None
    select = halves(examples, kind)
    held_out = holdout(examples, kind)
    assert select.dtype == bool and select.shape == held_out.shape == (501,)
    strata = np.rint(examples.labels)
    for stratum in set(strata):
        inside = strata == stratum
        assert abs(int(select[inside].sum()) - int((~select[inside]).sum())) <= 1
        assert abs(held_out[inside].sum() - inside.sum() / 10) <= 0.5


def test_a_share_other_than_a_tenth_can_be_held_out() -> None:
    examples = pairs(400, "binary")
    assert abs(holdout(examples, "binary", share=0.25).sum() - 100) <= 1


def test_neither_row_order_nor_ids_matter() -> None:
    examples = pairs(200, "regression")
    order = np.random.default_rng(1).permutation(200)
    np.testing.assert_array_equal(
        halves(taken(examples, order), "regression"), halves(examples, "regression")[order]
    )
    np.testing.assert_array_equal(
        holdout(taken(examples, order), "regression"), holdout(examples, "regression")[order]
    )


def test_neither_case_nor_spacing_nor_the_order_of_a_pair_matters() -> None:
    examples = pairs(100, "binary")
    left, right = examples.texts
    written_otherwise = tuple(f"  {text.upper()}\n" for text in left)
    other = Examples(examples.ids, (right, written_otherwise), examples.labels)
    np.testing.assert_array_equal(halves(other, "binary"), halves(examples, "binary"))


def test_duplicates_fall_in_the_same_half_even_with_different_labels() -> None:
    texts = tuple(f"Text {n % 70}" for n in range(210))
    labels = np.array([(n * 7 // 3) % 5 for n in range(210)], dtype=float)
    examples = Examples(tuple(map(str, range(210))), (texts,), labels)
    select = halves(examples, "classification")
    by_text = select.reshape(3, 70)
    assert (by_text == by_text[0]).all()
    assert abs(int(select.sum()) - 105) <= 3 * 5


def test_texts_with_several_labels_do_not_make_row_order_matter() -> None:
    texts = tuple(f"text {n % 40}" for n in range(120))
    examples = Examples(texts, (texts,), np.random.default_rng(0).integers(0, 5, 120).astype(float))
    order = np.random.default_rng(1).permutation(120)
    np.testing.assert_array_equal(
        halves(taken(examples, order), "classification"), halves(examples, "classification")[order]
    )


@pytest.mark.parametrize("copies", [2, 3, 5, 8])
def test_single_examples_even_out_what_duplicates_leave(copies: int) -> None:
    numbers = [*range(40)] + [0] * (copies - 1) + [1] * (copies - 1)
    texts = tuple(f"text {n} of {copies}" for n in numbers)
    labels = np.array([n % 2 for n in numbers], dtype=float)
    select = halves(Examples(texts, (texts,), labels), "binary")
    for label in (0, 1):
        inside = select[labels == label]
        assert abs(int(inside.sum()) - int((~inside).sum())) <= 1


def test_halves_of_stored_studies_stay_what_they_were() -> None:
    texts = tuple(f"sentence {n}" for n in range(24))
    examples = Examples(texts, (texts,), np.arange(24.0) % 3)
    assert "".join(map(str, halves(examples, "classification").astype(int))) == "111110011100001011000100"


def test_unlabelled_examples_are_refused() -> None:
    with pytest.raises(ValueError, match="unlabelled"):
        halves(Examples(("x",), (("text",),), None), "binary")
