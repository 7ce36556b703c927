"""Signed errors on long dev examples: whether runs answer too high or too low there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.examples import dev_examples, read_texts
from analysis.quoted import NOT_USABLE, left_out
from analysis.scoring import NO_NUMBERS, OTHER_EXAMPLES, Floats
from analysis.study import Study
from analysis.wording import characters
from minbert.errors import UserError


class Gone(Exception):
    """What the errors are computed from is not there; the message is what."""


def long_errors(
    study: Study, task: str, numbers: Sequence[int], least: int
) -> tuple[dict[int, Floats], dict[int, str]]:
    """Answer − label of the dev examples with ``least`` characters or more, of a pair in both sentences together; in
    the label's unit, (examples,) by trial; and by trial why others have none.

    Raises:
        Gone: the texts are not there, or not those of the study.
    """
    try:
        corpus = read_texts(study, numbers[0])
    except UserError:
        raise Gone("the texts of its data are gone or have changed") from None
    errors: dict[int, Floats] = {}
    unused: dict[int, str] = {}
    for number in numbers:
        try:
            frame = dev_examples(study, number, task, corpus)
        except UserError:
            reason = left_out(study, task, [number], None)[number]
            unused[number] = OTHER_EXAMPLES if reason == NOT_USABLE else reason
            continue
        columns = [name for name in frame if str(name).startswith("text_")]
        long = characters([frame[name].tolist() for name in columns]) >= least
        own = frame["error"].to_numpy(np.float64)
        if np.isfinite(own).all():
            errors[number] = own[long]
        else:
            unused[number] = NO_NUMBERS
    return errors, unused
