"""Stored predictions as arrays, and the tasks' metrics on them.

Arrays are ``(trials, examples, outputs)``; metrics work on any leading axes at once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from minbert.measures import predicted_classes

OTHER_EXAMPLES = "other examples"
NO_NUMBERS = "outputs that are no numbers"
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Outputs:
    """The labelled dev predictions of several trials for one task, over the same examples."""

    numbers: list[int]
    """Trial numbers, one for each first index of ``values``."""
    values: Floats
    """(trials, examples, outputs): class probabilities, P(positive) or scores."""
    labels: Floats
    """(examples,)"""
    select: Mask
    """(examples,) true where choices are made."""
    report: Mask
    """(examples,) true where results are quoted; the same examples when the study has no halves."""
    left_out: dict[int, str] = field(default_factory=dict)
    """By number: why a trial with stored predictions is not among ``numbers``."""

    @property
    def halves_differ(self) -> bool:
        return not bool((self.select & self.report).any())


def stack(predictions: pd.DataFrame, like: int | None = None) -> Outputs | None:
    """Stack the predictions of one task (``number`` and the stored columns) by trial.

    Trials are left out whose outputs are not all numbers, and those that predicted other examples than the trial
    ``like``, or else than most. None when no labelled dev example is stored, or no trial is left.
    """
    labelled = predictions[(predictions["split"] == "dev") & predictions["label"].notna()]
    if labelled.empty:
        return None
    labelled = labelled.assign(key=pd.factorize(labelled["id"])[0])
    labelled = labelled.sort_values(["number", "key"], kind="stable")
    names = [str(name) for name in labelled if str(name).startswith("output_")]
    columns = sorted(names, key=lambda name: int(name.removeprefix("output_")))
    values, keys = labelled[columns].to_numpy(np.float64), labelled["key"].to_numpy()
    numbers, starts = np.unique(labelled["number"].to_numpy(), return_index=True)
    rows = {
        int(number): slice(start, stop)
        for number, start, stop in zip(numbers, starts, [*starts[1:], len(labelled)], strict=True)
    }
    usable = {number: own for number, own in rows.items() if np.isfinite(values[own]).all()}
    if not usable:
        return None
    first = usable[like] if like in usable else _commonest(keys, list(usable.values()))
    kept = {number: own for number, own in usable.items() if np.array_equal(keys[own], keys[first])}
    half = labelled["half"].iloc[first]
    select, report = (half == "select").to_numpy(bool), (half == "report").to_numpy(bool)
    everything = np.ones(len(half), bool)
    return Outputs(
        numbers=list(kept),
        values=np.stack([values[own] for own in kept.values()]),
        labels=labelled["label"].iloc[first].to_numpy(np.float64),
        select=select if select.any() else everything,
        report=report if report.any() else everything,
        left_out={
            number: OTHER_EXAMPLES if number in usable else NO_NUMBERS
            for number in rows
            if number not in kept
        },
    )


def metric(kind: str, values: Floats, labels: Floats) -> Floats:
    """Accuracy, or Pearson's r for regression; ``values`` (…, examples, outputs) → (…).

    Pearson's r of a constant prediction is 0, as it tells nothing.
    """
    if kind != "regression":
        mean: Floats = np.asarray(_correct(kind, values, labels).mean(axis=-1), np.float64)
        return mean
    return np.asarray(np.mean(_standard(values[..., 0]) * _standard(labels), axis=-1), np.float64)


def answers(kind: str, values: Floats) -> Floats:
    """The class that each example gets, or the number of a regression; (…, examples, outputs) → (…, examples).

    Ties are broken as the training's own scores break them: ``minbert.measures.predicted_classes``.
    """
    if kind == "regression":
        return values[..., 0]
    flat = predicted_classes(
        "binary" if kind == "binary" else "classification", values.reshape(-1, values.shape[-1])
    )
    return flat.reshape(values.shape[:-1]).astype(np.float64)


def to_unit(kind: str, value: Floats | float) -> Floats | float:
    """Map a task's metric to [0, 1], as the score does."""
    return 0.5 * value + 0.5 if kind == "regression" else value


def influence(kind: str, values: Floats, labels: Floats) -> Floats:
    """What each example adds to the [0, 1] metric: their mean is the metric up to its bias, and
    their spread its uncertainty (the infinitesimal jackknife); (…, examples, outputs) → (…, examples)."""
    if kind != "regression":
        return _correct(kind, values, labels).astype(np.float64)
    x, y = _standard(values[..., 0]), _standard(labels)
    r = np.mean(x * y, axis=-1, keepdims=True)
    pulls: Floats = (x * y - r / 2 * (x**2 + y**2) + r + 1) / 2
    return pulls


def _commonest(keys: npt.NDArray[np.int64], blocks: list[slice]) -> slice:
    """The first of the blocks whose keys most blocks share."""
    shared = Counter(keys[own].tobytes() for own in blocks)
    return max(blocks, key=lambda own: shared[keys[own].tobytes()])


def _correct(kind: str, values: Floats, labels: Floats) -> Mask:
    correct: Mask = answers(kind, values) == labels
    return correct


def _standard(values: Floats) -> Floats:
    centred = values - values.mean(axis=-1, keepdims=True)
    spread = np.sqrt(np.mean(centred**2, axis=-1, keepdims=True))
    # A constant's spread is rounding noise, which must not be blown up to a correlation.
    floor = 1e-12 * np.maximum(1.0, np.abs(values).max(axis=-1, keepdims=True, initial=0.0))
    standard: Floats = np.where(spread > floor, centred / np.where(spread > floor, spread, 1.0), 0.0)
    return standard
