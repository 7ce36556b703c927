"""How often Tune starts a trial again: what a node that is gone took along is left out of account."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import ray
from ray import tune

from trainables.machines.lost_nodes import gone
from trainables.running.searcher import LeftOutOfSnapshots


class UncountedLosses(LeftOutOfSnapshots, tune.Callback):
    """Lets Tune start a trial again however many of its nodes are lost.

    Args:
        nodes: lists the cluster's nodes as Ray does.
        node_of: the id of the node that a trial, which is being started, is on.
    """

    def __init__(
        self,
        nodes: Callable[[], Iterable[Mapping[str, Any]]] = ray.nodes,
        node_of: Callable[[Any], str] | None = None,
    ) -> None:
        self._nodes, self._node_of = nodes, node_of or ActorNodes().of
        self._on: dict[str, str] = {}  # where each trial runs
        self._lost_on: dict[str, list[str]] = {}  # of each trial's losses that count

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note where a trial runs, as long as that can be known."""
        self._on[trial.trial_id] = self._node_of(trial)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Count, of a trial that is started again, only what happened on nodes that live on."""
        counted, node = self._lost_on.get(trial.trial_id, []), self._on.pop(trial.trial_id, "")
        if trial.run_metadata.num_failures > len(counted):  # Tune itself leaves out what a cloud announced
            counted = [*counted, node]
        lost = set(gone(filter(None, counted), self._nodes()))
        self._lost_on[trial.trial_id] = [each for each in counted if each not in lost]
        trial.run_metadata.num_failures = len(self._lost_on[trial.trial_id])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Forget a trial."""
        self._forget(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Forget a trial."""
        self._forget(trial)

    def _forget(self, trial: Any) -> None:
        self._on.pop(trial.trial_id, None)
        self._lost_on.pop(trial.trial_id, None)


class ActorNodes:
    """Knows on which nodes the workers are, which run one trial after the other; asked while they live."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def of(self, trial: Any) -> str:
        """The id of the node of a trial's worker."""
        actor = trial.temporary_state.ray_actor._actor_id.hex()
        if actor not in self._known:
            found: Any = ray._private.state.actors(actor)
            self._known[actor] = str(found.get("Address", {}).get("NodeID", ""))
        return self._known[actor]
