"""Trials sent to a node that cannot run them, without a GPU that it promised or without the study's folder: they go elsewhere."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import ray
from ray.tune import PlacementGroupFactory

from trainables.machines.gpu_share import NO_CUDA
from trainables.machines.placement import TrialResources, others
from trainables.machines.seen_folders import UNSHARED

UNUSABLE = "unusable"
"""Cause of a trial that could not even begin on a node: another program is there, or what is there is broken."""
TURNED_AWAY = (NO_CUDA, UNSHARED, UNUSABLE)
"""Causes that speak against a node, and no trial."""
TRIES = 3
"""So often a trial, or the probe before the first one, is sent to a node for nothing."""
PATIENCE_SECONDS = 300.0
"""So long a trial waits for another node where there is none any more but those that it is kept away from."""
AGAIN_SECONDS = 30.0
"""So long a trial waits for another node before it is sent once more to one that turned it away."""
_LOOK_SECONDS = 5.0
_NODE = "ray.io/node-id"
_SHOWN = 8  # of the id of a node


class Elsewhere:
    """Knows the nodes that cannot run trials. What is broken there is quick to fail, and would draw all of them.

    Args:
        trial: what each trial gets.
        say: tells the user.
        nodes: lists the cluster's nodes as Ray does.
        clock: tells seconds.
    """

    def __init__(
        self,
        trial: TrialResources,
        say: Callable[[str], None],
        nodes: Callable[[], Iterable[Mapping[str, Any]]] = ray.nodes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._trial, self._say, self._list = trial, say, nodes
        self._wrong: dict[str, tuple[str, float]] = {}  # with each node that was found so, and when; in order
        self._tries: Counter[int] = Counter()
        self._not_before: dict[int, float] = {}  # of trials that were turned away
        self._kept_away: dict[int, list[str]] = {}
        self._clock, self._looked = clock, clock()
        self._without: float | None = None  # since when one of them has no node
        self._stopped_by = ""

    @property
    def avoided(self) -> list[str]:
        """Ids of the nodes that no trial is to go to for a while; none while there are no others."""
        again = self._clock() - PATIENCE_SECONDS  # a folder may be mounted by now, a driver loaded
        found = [node for node, (_, when) in self._wrong.items() if when > again]
        return found if found and others(self._list(), found, self._trial) else []

    def may_go(self, number: int) -> bool:
        """Whether a trial that is to be issued again has a node to go to: another one, or after a while the same."""
        return self._clock() >= self._not_before.get(number, -math.inf) or bool(self.avoided)

    def keep_away(self, number: int) -> list[str]:
        """Ids of the nodes that a trial is not to go to, which is handed out now; that holds until it has ended."""
        if avoided := self.avoided:
            self._kept_away[number] = avoided
        return avoided

    def trains(self, number: int) -> None:
        """Note that a trial runs: what was wrong with nodes before is none of its next start's."""
        self._tries.pop(number, None)

    def ended(self, number: int) -> None:
        """Note that a trial waits for no node any more."""
        self._kept_away.pop(number, None)

    @property
    def stopped_by(self) -> str:
        """Why the search has to end; empty while it may go on."""
        if self._kept_away and not self._stopped_by and self._clock() >= self._looked + _LOOK_SECONDS:
            self._looked = self._clock()
            self._look()
        return self._stopped_by

    def _look(self) -> None:
        """Ray lets a trial wait for another node for ever, also where the last one of them is lost meanwhile."""
        there = list(self._list())
        without = {
            number: avoided
            for number, avoided in self._kept_away.items()
            if not others(there, avoided, self._trial)
        }
        if not without:
            self._without = None
            return
        number, avoided = min(without.items())
        named = ", ".join(f"{node[:_SHOWN]} ({self._wrong[node][0]})" for node in avoided)
        told = f"trial {number}: no node is left but {named}"
        if self._without is None:
            self._without = self._looked
            self._say(f"{told}; it waits for another one, for {PATIENCE_SECONDS:.0f} s at most")
        elif self._looked - self._without >= PATIENCE_SECONDS:
            self._stopped_by = f"{told}: mend such nodes or bring others, and give the same command again"

    def turned_away(self, number: int, node: str, cause: str, message: str) -> None:
        """Note that a node could not run a trial; it is to be issued again, unless the search ends for it.

        Args:
            number: of the trial.
            node: its id.
            cause: one of :data:`TURNED_AWAY`.
            message: what was wrong there.
        """
        self._wrong[node] = f"{cause}: {message}", self._clock()
        self._tries[number] += 1
        self._not_before[number] = self._clock() + AGAIN_SECONDS
        told = f"{cause} on node {node[:_SHOWN]}: {message}"
        if self._tries[number] < TRIES:
            self._say(
                f"trial {number}: {told}; it is tried again elsewhere, or here in {AGAIN_SECONDS:.0f} s"
            )
        elif not self._stopped_by:
            self._stopped_by = (
                f"trial {number}: {told}; it was tried {TRIES} times: mend or leave out such nodes, and give the "
                "same command again"
            )

    def never_began(self, number: int) -> None:
        """Note that no worker could be started for a trial, however often: that speaks against no trial either."""
        self._stopped_by = self._stopped_by or (
            f"trial {number}: its workers ended again and again before it began: see what Ray's logs on the nodes say, and give "
            "the same command again"
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
