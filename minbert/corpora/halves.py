"""Split examples once and for all by a hash of their text, evenly within every label.

The select half of dev chooses epochs and configurations, the report half is quoted. The
split must not change when files are re-ordered, renamed or given other ids, and an example
that stands twice must not be on both sides; so only the normalised text decides.
"""

from __future__ import annotations

import hashlib

import numpy as np

from minbert.config import TaskKind
from minbert.corpora.reader import Examples, text_keys

SALT = b"minbert split 1\n"  # another value is another split: every stored score would lose its meaning


def halves(examples: Examples, kind: TaskKind) -> np.ndarray:
    """Return bool ``(n,)``: True for the select half, False for the report half.

    Raises:
        ValueError: the examples have no labels.
    """
    return _share(examples, kind, 0.5)


def holdout(examples: Examples, kind: TaskKind, share: float = 0.1) -> np.ndarray:
    """Return bool ``(n,)``: True for the share of the examples that is held out.

    Raises:
        ValueError: the examples have no labels.
    """
    return _share(examples, kind, share)


def _share(examples: Examples, kind: TaskKind, share: float) -> np.ndarray:
    """Mark a share of every stratum; examples with the same normalised text go together.

    Walks the groups of equal text in hash order and takes one whenever that brings the count
    nearer to the share of what was passed. Large groups come first, so that single examples
    even out what they leave.
    """
    if examples.labels is None:
        raise ValueError("unlabelled examples can't be split by label")
    groups: dict[str, list[int]] = {}
    for at, key in enumerate(text_keys(examples)):
        groups.setdefault(key, []).append(at)
    strata = np.rint(examples.labels) if kind == "regression" else examples.labels
    by_stratum: dict[float, list[tuple[int, bytes, list[int]]]] = {}
    for key, members in groups.items():
        # A text with two different labels goes with the lower one.
        stratum = float(strata[members].min())
        by_stratum.setdefault(stratum, []).append((-len(members), _hash(key), members))
    marked = np.zeros(len(examples), dtype=bool)
    for grouped in by_stratum.values():
        taken = passed = 0
        for _, _, members in sorted(grouped):
            passed += len(members)
            if taken + len(members) / 2 <= share * passed:
                marked[members] = True
                taken += len(members)
    return marked


def _hash(key: str) -> bytes:
    return hashlib.sha256(SALT + key.encode()).digest()
