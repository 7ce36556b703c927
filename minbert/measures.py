"""What predictions are measured by, and the geometry of sentence vectors.

Predictions have their stored form: (examples, classes) probabilities, or (examples, 1)
probability of the positive class (binary) or value in label units (regression). No
measure is ever NaN: where one is not defined it is 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from minbert.config import TaskKind

_CHUNK = 256  # vectors compared with all others at a time
_ROUNDING = 1e-6  # values that differ by less than this share of the largest differ by fp32 rounding


def task_measures(kind: TaskKind, predictions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """``accuracy`` and ``f1``, or for regression ``pearson`` and ``spearman``.

    Args:
        kind: what the task predicts.
        predictions: (examples, classes) or (examples, 1), see the module.
        labels: (examples,) class numbers or values.
    """
    if kind == "regression":
        values = predictions[:, 0]
        return {"pearson": pearson(values, labels), "spearman": spearman(values, labels)}
    classes = predicted_classes(kind, predictions)
    f1 = binary_f1(classes, labels) if kind == "binary" else macro_f1(classes, labels)
    return {"accuracy": accuracy(classes, labels), "f1": f1}


def is_constant(kind: TaskKind, predictions: np.ndarray) -> bool:
    """Whether all examples get one class, or (regression) values without any spread."""
    if kind == "regression":
        return _is_flat(predictions[:, 0])
    return len(np.unique(predicted_classes(kind, predictions))) < 2


def plain_mean(metrics: Mapping[str, float], tasks: Iterable[str]) -> float:
    """Mean of the tasks' metrics as they are; not the score, which maps Pearson's r to [0, 1]."""
    return float(np.mean([metrics[task] for task in tasks]))


def predicted_classes(kind: TaskKind, predictions: np.ndarray) -> np.ndarray:
    """(examples,) the most probable class; for binary tasks 1 above a probability of one half."""
    if kind == "classification":
        return predictions.argmax(axis=1)
    return (predictions[:, 0] > 0.5).astype(np.int64)


def accuracy(classes: np.ndarray, labels: np.ndarray) -> float:
    """Share of right answers."""
    return float((classes == labels).mean()) if len(labels) else 0.0


def binary_f1(classes: np.ndarray, labels: np.ndarray) -> float:
    """F1 of class 1: 2·TP / (2·TP + FP + FN)."""
    return _f1_of(1, classes, labels)


def macro_f1(classes: np.ndarray, labels: np.ndarray) -> float:
    """Unweighted mean of the F1 of every class that occurs among labels or predictions."""
    occurring = np.union1d(classes, labels)
    return float(np.mean([_f1_of(one, classes, labels) for one in occurring])) if len(occurring) else 0.0


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's r of two (examples,) arrays; 0 if one of them has no spread."""
    if _is_flat(x) or _is_flat(y):
        return 0.0
    a, b = (values.astype(np.float64) - values.mean(dtype=np.float64) for values in (x, y))
    return float(np.clip(a @ b / np.sqrt((a @ a) * (b @ b)), -1.0, 1.0))


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's ρ, Pearson's r of the ranks, ties having their mean rank; 0 if one has no spread."""
    return 0.0 if _is_flat(x) or _is_flat(y) else pearson(_ranks(x), _ranks(y))


def alignment(x: np.ndarray, y: np.ndarray) -> float:
    """Mean squared distance of positive pairs after scaling to unit length: 0 equal … 4 opposite.

    Args:
        x, y: (pairs, hidden) vectors of the first and second sentences.

    Source: Wang and Isola 2020; Gao et al. 2021, equation 2.
    """
    if not len(x):
        return 0.0
    return float(np.square(_unit(x) - _unit(y)).sum(axis=1).mean())


def uniformity(x: np.ndarray) -> float:
    """log of the mean of exp(−2‖a − b‖²) over all pairs of different rows, at unit length.

    0 when all vectors are equal (or there are fewer than two), −4 for vectors in right angles.

    Args:
        x: (sentences, hidden) vectors.

    Source: Wang and Isola 2020; Gao et al. 2021, equation 3.
    """
    count = len(x)
    if count < 2:
        return 0.0
    unit = _unit(x)
    total = 0.0
    for start in range(0, count, _CHUNK):  # each pair once, without a (sentences, sentences) matrix
        cosines = unit[start : start + _CHUNK] @ unit[start:].T
        total += np.triu(np.exp(4 * cosines - 4), k=1).sum()
    return float(np.log(total / (count * (count - 1) / 2)))


def _f1_of(positive: int, classes: np.ndarray, labels: np.ndarray) -> float:
    answered, true = classes == positive, labels == positive
    counted = answered.sum() + true.sum()
    return float(2 * (answered & true).sum() / counted) if counted else 0.0


def _is_flat(values: np.ndarray) -> bool:
    return len(values) < 2 or bool(np.ptp(values) <= _ROUNDING * np.abs(values).max())


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, ties having their mean."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[places]  # type: ignore[no-any-return]


def _unit(x: np.ndarray) -> np.ndarray:
    exact = x.astype(np.float64)
    norms = np.linalg.norm(exact, axis=1, keepdims=True)
    return exact / np.where(norms == 0, 1.0, norms)  # type: ignore[no-any-return]
