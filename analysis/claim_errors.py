"""Signed errors on long dev examples: whether runs answer too high or too low there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.examples import dev_examples, read_texts
from analysis.scoring import Floats
from analysis.study import Study
from analysis.wording import characters
from minbert.errors import UserError


class Gone(Exception):
    """What the errors are computed from is not there; the message is what."""


def long_errors(study: Study, task: str, numbers: Sequence[int], least: int) -> Floats:
    """Answer − label, (trials, examples), of the dev examples with ``least`` characters or more, of a pair in both
    sentences together; in the label's unit.

    Raises:
        Gone: the texts or the predictions are not there, or not those of the study.
    """
    try:
        corpus = read_texts(study, numbers[0])
    except UserError:
        raise Gone("the texts of its data are gone or have changed") from None
    try:
        frames = [dev_examples(study, number, task, corpus) for number in numbers]
    except UserError:
        raise Gone("no stored predictions") from None
    columns = [name for name in frames[0] if str(name).startswith("text_")]
    long = characters([frames[0][name].tolist() for name in columns]) >= least
    return np.stack([frame["error"].to_numpy(np.float64)[long] for frame in frames])
