"""A machine at the full price for a study that waits, where the cheap ones that come first cannot be had.

Ray's autoscaler asks for the kind of machine that it likes best again and again, also while the cloud has none of it left
(2.60: only machines that were had and never joined make it try another kind). So a search asks by itself for a kind with
the resource ``on_demand``, one machine at a time, once nothing has come for a while.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from trainables.machines.cluster_file import ClusterFile, as_mapping

RESOURCE = "on_demand"
"""What such a kind of machine has in a file of Ray's launcher, beside CPUs and GPUs."""
PATIENCE_SECONDS = 120.0
"""So long a search waits without a machine that runs trials, or is about to."""
_LOOK_SECONDS = 5.0


@dataclass(frozen=True)
class Supply:
    """The machines of a cluster at one moment.

    Attributes:
        there: how many have joined that run trials.
        coming: how many were had, and have not joined yet.
        awaited: whether somebody waits for one.
    """

    there: int
    coming: int
    awaited: bool


class OnDemand:
    """Asks for a machine at the full price while no other can be had.

    Args:
        ask: asks for one, and returns what takes that back.
        say: tells the user.
    """

    def __init__(self, ask: Callable[[], Callable[[], object]], say: Callable[[str], object]) -> None:
        self._ask, self._say = ask, say
        self._since: float | None = None
        self._take_back: Callable[[], object] | None = None

    def look(self, supply: Supply, now: float) -> None:
        """Ask, or take back what was asked for, as it is there.

        Args:
            supply: of the moment.
            now: seconds of some clock.
        """
        if self._take_back is not None:
            if supply.there:
                self._take_back()
                self._take_back = None
        elif supply.there or supply.coming or not supply.awaited:
            self._since = None
        elif self._since is None:
            self._since = now
        elif now - self._since >= PATIENCE_SECONDS:
            waited, self._take_back, self._since = now - self._since, self._ask(), None
            self._say(
                f"no machine could be had for {waited:.0f} s: one on demand is asked for, at the full price"
            )


def ask_on_demand(launcher: ClusterFile, say: Callable[[str], object]) -> None:
    """Watch the cluster from now on, in a thread, if its launcher knows machines on demand.

    What is asked for is forgotten with this process, however that ends.

    Args:
        launcher: its file.
        say: tells the user.
    """
    import ray  # noqa: PLC0415 - reads the environment when imported

    offered = [
        as_mapping(kind.get("resources")) for kind in launcher.node_types.values() if launcher.most_of(kind)
    ]
    offered = [resources for resources in offered if RESOURCE in resources]
    if not offered:
        return
    needed = "GPU" if any(resources.get("GPU") for resources in offered) else "CPU"

    def watch() -> None:
        machines = OnDemand(_ask, say)
        while ray.is_initialized():
            with suppress(Exception):  # the head is busy, or this process ends: others will say so
                machines.look(_supply(needed), time.monotonic())
            time.sleep(_LOOK_SECONDS)

    threading.Thread(target=watch, name="on-demand", daemon=True).start()


def _ask() -> Callable[[], object]:
    """A placement group waits for the resource, and is gone with the process that made it."""
    from ray.util import placement_group, remove_placement_group  # noqa: PLC0415

    group = placement_group([{RESOURCE: 1}])
    return lambda: remove_placement_group(group)


def _supply(needed: str) -> Supply:
    """Of machines that have what such a kind has, GPUs or CPUs."""
    import ray  # noqa: PLC0415
    from ray.autoscaler.v2.sdk import get_cluster_status  # noqa: PLC0415

    status = get_cluster_status(ray.get_runtime_context().gcs_address)
    demands = status.resource_demands
    joined: list[Any] = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get(needed)]
    waiting = [*demands.ray_task_actor_demand, *demands.placement_group_demand]
    return Supply(len(joined), len(status.pending_nodes), bool(waiting))
