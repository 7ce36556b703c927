"""Tasks that a model taken out of a study answers alike, whatever it is asked: their scores do not show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from minbert.measures import is_constant

if TYPE_CHECKING:
    from analysis.study import Study


def constant_tasks(study: Study, members: Mapping[str, Mapping[int, float]]) -> list[str]:
    """The tasks whose stored dev examples all get one answer from the weighted mean of the members.

    Args:
        study: whose stored predictions are read.
        members: task → trial number → weight.
    """
    return [task for task, weights in members.items() if _is_constant(study, task, weights)]


def _is_constant(study: Study, task: str, weights: Mapping[int, float]) -> bool:
    frame = study.predictions(task, weights)
    dev = frame[frame["split"] == "dev"]
    if dev.empty:
        return False
    outputs = [name for name in dev.columns if name.startswith("output_")]
    weighted = dev[outputs].mul(dev["number"].map(weights), axis=0)
    # By place: every trial stores the same examples in the same order, and ids of a file may repeat.
    blend = weighted.groupby(dev.groupby("number").cumcount()).sum()
    return is_constant(study.tasks[task].kind, blend.to_numpy(np.float64))
