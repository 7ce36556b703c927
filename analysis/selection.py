"""How the members of an ensemble are chosen: a method is one function and one line in ``METHODS``.

A method sees the examples that choose, and nothing else. Caruana et al. 2004, "Ensemble
Selection from Libraries of Models", is the source of all but the first two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from analysis.scoring import Floats, metric

TOP = 5
ROUNDS = 50
ROUNDING = 1e-12
"""A smaller gain is rounding, and does not make a larger ensemble the better one."""
BAGS = 20
BAG_SHARE = 0.5
"""The paper's share of the trials in a bag."""
_SEED = 0


@dataclass(frozen=True)
class Candidates:
    """The trials that can join, on the examples that choose."""

    kind: str
    values: Floats
    """(trials, examples, outputs)"""
    labels: Floats
    """(examples,)"""

    @cached_property
    def alone(self) -> Floats:
        """(trials,) each trial's own metric."""
        return metric(self.kind, self.values, self.labels)

    @cached_property
    def order(self) -> list[int]:
        """All trials, best first; of equal ones the earlier first."""
        return [int(index) for index in np.argsort(-self.alone, kind="stable")]

    def only(self, indices: Sequence[int]) -> Candidates:
        return Candidates(self.kind, self.values[list(indices)], self.labels)

    def sums(self) -> _Sums:
        """An empty ensemble."""
        return (_PearsonSums if self.kind == "regression" else _Margins)(self)


Method = Callable[[Candidates, int], Floats]
"""(candidates, rounds) → (trials,) weights that sum to 1."""


def choose_weights(name: str, candidates: Candidates, rounds: int = ROUNDS) -> Floats:
    """Return the trials' weights (trials,), which sum to 1, by the method of that name in ``METHODS``."""
    return METHODS[name](candidates, rounds)


def best(candidates: Candidates, rounds: int) -> Floats:
    """The one trial that is best at the task (004, section 4.2.4)."""
    return _shares(candidates.order[:1], candidates)


def top(candidates: Candidates, rounds: int) -> Floats:
    """The plain average of the ``TOP`` best trials."""
    return _shares(candidates.order[:TOP], candidates)


def greedy(candidates: Candidates, rounds: int) -> Floats:
    """Forward selection with replacement: the trial that helps most joins, ``rounds`` times; the
    best ensemble met on the way is taken."""
    return _shares(_grow(candidates, [], rounds), candidates)


def sorted_greedy(candidates: Candidates, rounds: int) -> Floats:
    """Forward selection that begins with the best trials: as many as do best together."""
    return _shares(_grow(candidates, _best_prefix(candidates), rounds), candidates)


def bagged(candidates: Candidates, rounds: int) -> Floats:
    """The mean of ``BAGS`` sorted forward selections, each among a random half of the trials."""
    random = np.random.default_rng(_SEED)
    trials = len(candidates.values)
    size = max(1, round(BAG_SHARE * trials))
    weights = np.zeros(trials)
    for _ in range(BAGS):
        bag = np.sort(random.choice(trials, size, replace=False))
        weights[bag] += sorted_greedy(candidates.only(bag.tolist()), rounds)
    return weights / BAGS


METHODS: Mapping[str, Method] = {
    "best": best,
    "top": top,
    "greedy": greedy,
    "sorted": sorted_greedy,
    "bagged": bagged,
}


def _shares(members: Sequence[int], candidates: Candidates) -> Floats:
    """Weights of a list of members, with repeats."""
    return np.bincount(members, minlength=len(candidates.values)) / len(members)


def _best_prefix(candidates: Candidates) -> list[int]:
    """The shortest of the best-scoring prefixes of the trials in order of merit."""
    sums, scores = candidates.sums(), []
    for index in candidates.order:
        sums.add(index)
        scores.append(sums.score())
    return candidates.order[: int(np.argmax(scores)) + 1]


def _grow(candidates: Candidates, start: Sequence[int], rounds: int) -> list[int]:
    """The members, with repeats, of the best ensemble met while the best candidate joins again and again."""
    sums, path = candidates.sums(), list(start)
    for index in start:
        sums.add(index)
    found, found_score = list(path), sums.score() if path else -np.inf
    for _ in range(rounds):
        scores = sums.score_with_each()
        index = int(np.argmax(scores))
        sums.add(index)
        path.append(index)
        if scores[index] > found_score + ROUNDING:
            found, found_score = list(path), float(scores[index])
    return found


class _Margins:
    """Accuracy of a growing sum of probabilities.

    An example is right when every other class stays below its label's, so the sums of these margins are
    all that is needed: (other classes, trials, examples), negative = right. Of equal probabilities the lower
    class is answered (``minbert.measures``), so towards higher classes a margin of 0 is right as well.
    """

    def __init__(self, candidates: Candidates) -> None:
        values, labels = candidates.values, candidates.labels
        if candidates.kind == "binary":
            self._margins = np.where(labels == 1, 0.5 - values[..., 0], values[..., 0] - 0.5)[None]
            self._tie_is_right = (labels == 0)[None]
        else:
            true = labels.astype(np.int64)
            rows = np.arange(len(true))
            classes = [(true + shift) % values.shape[-1] for shift in range(1, values.shape[-1])]
            self._margins = np.stack([values[:, rows, one] for one in classes]) - values[:, rows, true]
            self._tie_is_right = np.stack(classes) > true
        self._total = np.zeros((len(self._margins), self._margins.shape[2]))

    def add(self, index: int) -> None:
        self._total += self._margins[:, index]

    def score(self) -> float:
        right = (self._total < 0) | (self._tie_is_right & (self._total == 0))
        return float(right.all(axis=0).mean())

    def score_with_each(self) -> Floats:
        right = np.ones(self._margins.shape[1:], bool)
        for margins, total, tie_is_right in zip(self._margins, self._total, self._tie_is_right, strict=True):
            # The limit that a lower class must stay below is moved up by as little as there is.
            right &= margins < np.where(tie_is_right, np.nextafter(-total, np.inf), -total)
        return np.asarray(right.mean(axis=1), np.float64)


class _PearsonSums:
    """Pearson's r of a growing sum of scores, from the trials' Gram matrix alone."""

    def __init__(self, candidates: Candidates) -> None:
        scores = candidates.values[..., 0]
        centred = scores - scores.mean(axis=1, keepdims=True)
        label = candidates.labels - candidates.labels.mean()
        norm = np.linalg.norm(label)
        self._gram = centred @ centred.T
        self._with_label = centred @ label / (norm if norm > 0 else 1.0)
        self._variance, self._covariance = 0.0, 0.0
        self._shared = np.zeros(len(self._gram))

    def add(self, index: int) -> None:
        self._variance += self._gram[index, index] + 2 * self._shared[index]
        self._covariance += self._with_label[index]
        self._shared += self._gram[index]

    def score(self) -> float:
        return float(_ratio(np.array([self._covariance]), np.array([self._variance]))[0])

    def score_with_each(self) -> Floats:
        variance = self._variance + np.diag(self._gram) + 2 * self._shared
        return _ratio(self._covariance + self._with_label, variance)


_Sums = _Margins | _PearsonSums


def _ratio(covariance: Floats, variance: Floats) -> Floats:
    useful = variance > 1e-18
    ratio: Floats = np.where(useful, covariance / np.sqrt(np.where(useful, variance, 1.0)), 0.0)
    return ratio
