"""Losses of a trial's workers: those of a node that is gone, as spot machines go, are no fault of the trial.

A worker's end may be known a moment before its node's. So what counts is looked up anew at every loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import ray

from minbert.errors import TrainingFailure
from trainables.studies.attempts import LOST_NODES, Attempt

FRUITLESS = 4
"""A trial whose worker died so often, on nodes that live on, without having kept anything new is given up."""
MOST_NODES = 50
"""The same of a trial whose nodes died: it may be the trial that ends them, and each of them costs."""


def refuse_lost_again_and_again(
    attempt: Attempt, nodes: Callable[[], Iterable[Mapping[str, Any]]] = ray.nodes
) -> None:
    """Give a trial up where its starts end again and again before they keep anything new.

    Args:
        attempt: the start that is about to begin.
        nodes: lists the cluster's nodes as Ray does.

    Raises:
        TrainingFailure: it is to be given up.
    """
    if attempt.fruitless < FRUITLESS:
        return
    try:
        lost = len(gone(attempt.nodes, nodes()))
    except Exception:  # Ray's head is busy or gone: that speaks against no trial
        return
    if attempt.fruitless - lost >= FRUITLESS:
        raise TrainingFailure(
            "lost", f"lost {attempt.fruitless - lost} workers without a checkpoint in between"
        )
    if lost >= MOST_NODES:
        raise TrainingFailure(LOST_NODES, f"lost {lost} nodes without a checkpoint in between")


def gone(ids: Iterable[str], nodes: Iterable[Mapping[str, Any]]) -> list[str]:
    """Those of some nodes' ids, each as often as it is among them, whose nodes are not alive.

    Args:
        ids: as Ray names nodes.
        nodes: as Ray lists them.
    """
    alive = {node["NodeID"] for node in nodes if node["Alive"]}
    return [each for each in ids if each not in alive]
