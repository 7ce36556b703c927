"""Trials that were promised a GPU by a node that has none to use: they go to other nodes, a few times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import ray
from ray.tune import PlacementGroupFactory

from trainables.machines.gpu_share import NO_CUDA
from trainables.machines.placement import TrialResources, others

TRIES = 3
"""So often a trial, or the probe before the first one, is sent to a node for nothing."""
_NODE = "ray.io/node-id"
_SHOWN = 8  # of the id of a node


class Elsewhere:
    """Knows the nodes without a usable GPU. What is broken there is quick to fail, and would draw all trials.

    Args:
        trial: what each trial gets.
        say: tells the user.
        nodes: lists the cluster's nodes as Ray does.

    Attributes:
        stopped_by: why the search has to end; empty while it may go on.
    """

    def __init__(
        self,
        trial: TrialResources,
        say: Callable[[str], None],
        nodes: Callable[[], Iterable[Mapping[str, Any]]] = ray.nodes,
    ) -> None:
        self._trial, self._say, self._list = trial, say, nodes
        self._found: dict[str, None] = {}  # in order
        self._tries: Counter[int] = Counter()
        self.stopped_by = ""

    @property
    def avoided(self) -> list[str]:
        """Ids of the nodes that no trial is to go to; none while there are no others."""
        if self._found and others(self._list(), self._found, self._trial):
            return list(self._found)
        return []

    def turned_away(self, number: int, node: str, message: str) -> None:
        """Note that a trial found no GPU on a node; it is to be issued again, unless the search ends for it."""
        self._found[node] = None
        self._tries[number] += 1
        told = f"{NO_CUDA} on node {node[:_SHOWN]}: {message}"
        if self._tries[number] < TRIES:
            self._say(f"trial {number}: {told}; it is tried again elsewhere")
        elif not self.stopped_by:
            self.stopped_by = (
                f"trial {number}: {told}; it was tried {TRIES} times: mend or leave out such nodes, and give the "
                "same command again"
            )


def requested(trial: TrialResources, job: Mapping[str, Any]) -> PlacementGroupFactory:
    """What Tune asks Ray for to run a job.

    Args:
        trial: what each trial gets.
        job: of one trial; its ``avoid`` lists the ids of nodes that it is not to go to.
    """
    bundle = {name.upper(): amount for name, amount in trial.request().items()}
    if not job.get("avoid"):
        return PlacementGroupFactory([bundle])
    return PlacementGroupFactory([bundle], bundle_label_selector=[away_from(job["avoid"])])


def away_from(nodes: Iterable[str]) -> dict[str, str]:
    """Selects all nodes but these, in Ray's terms."""
    return {_NODE: f"!in({','.join(nodes)})"}
