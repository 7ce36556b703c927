"""How a greedy ensemble's metrics change with every member that joins."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.description import TaskInfo
from analysis.scoring import Outputs, metric, stack
from analysis.selection import ROUNDING, ROUNDS, Candidates

_COLUMNS = ("task", "added", "number", "select", "report", "taken")


def greedy_growth(
    predictions: Mapping[str, pd.DataFrame], tasks: Mapping[str, TaskInfo], rounds: int = ROUNDS
) -> pd.DataFrame:
    """One row a task and member added by forward selection with replacement: task, added (members so far, from 1),
    number (of the trial that joined), select and report (the task's metric on each half), taken (whether it
    belongs to the ensemble with the best select metric, which ``selection.greedy`` takes).

    ``predictions`` as for ``ensemble.choose``; tasks without labelled dev predictions are left out.
    """
    stacked = {task: stack(frame) for task, frame in predictions.items()}
    tables = [
        _task_growth(task, tasks[task].kind, outputs, rounds)
        for task, outputs in stacked.items()
        if outputs is not None
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(_COLUMNS))


def _task_growth(task: str, kind: str, outputs: Outputs, rounds: int) -> pd.DataFrame:
    candidates = Candidates(kind, outputs.values[:, outputs.select], outputs.labels[outputs.select])
    quoted, labels = outputs.values[:, outputs.report], outputs.labels[outputs.report]
    sums, total = candidates.sums(), np.zeros(quoted.shape[1:])
    best, taken, rows = -np.inf, 0, []
    for added in range(1, rounds + 1):
        scores = sums.score_with_each()
        index = int(np.argmax(scores))
        sums.add(index)
        total += quoted[index]
        if scores[index] > best + ROUNDING:
            best, taken = float(scores[index]), added
        report = float(metric(kind, total / added, labels))
        rows.append((task, added, outputs.numbers[index], float(scores[index]), report))
    frame = pd.DataFrame(rows, columns=list(_COLUMNS[:-1]))
    return frame.assign(taken=frame["added"] <= taken)
