"""The nearest sentences by the cosine of their vectors."""

from __future__ import annotations

import numpy as np

_QUERIES = 256
"""Compared with the whole corpus at a time."""
_DECIMALS = 6
"""Of a cosine; what lies behind depends on the processor, and would put equal sentences in another order there."""


def nearest(queries: np.ndarray, corpus: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The sentences of a corpus that are nearest to each query, nearest first; of equally near ones the earlier.

    Args:
        queries: (q, hidden) vectors.
        corpus: (n, hidden) vectors.
        count: how many for each query; all where there are fewer.

    Returns:
        (q, count) places in the corpus, and (q, count) cosines, to six decimals.
    """
    found = min(count, len(corpus))
    places = np.empty((len(queries), found), np.int64)
    cosines = np.empty((len(queries), found), np.float32)
    unit = _unit(corpus)
    for start in range(0, len(queries), _QUERIES):
        rows = slice(start, start + _QUERIES)
        near = np.round(_unit(queries[rows]) @ unit.T, _DECIMALS)
        places[rows] = np.argsort(-near, axis=1, kind="stable")[:, :found]
        cosines[rows] = np.take_along_axis(near, places[rows], axis=1)
    return places, cosines


def _unit(vectors: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms == 0, 1, norms)  # type: ignore[no-any-return]
