"""Which examples of a task are trained on."""

from __future__ import annotations

import numpy as np

from minbert.config import Selection
from minbert.corpora.tokenised import TokenisedCorpus


def training_rows(corpus: TokenisedCorpus, task: str, selection: Selection) -> np.ndarray:
    """Numbers (n,) of the examples that are trained on: all of train, or without its held-out tenth."""
    train = corpus.splits[task]["train"]
    if selection == "train_holdout":
        assert train.selected is not None
        return np.flatnonzero(~train.selected)
    return np.arange(len(train))
