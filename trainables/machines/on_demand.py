"""Machines at the full price for a study that waits, where the cheap ones that come first cannot be had.

Ray's autoscaler asks for the kind of machine that it likes best again and again, also while the cloud has none of it left
(2.60: only machines that were had and never joined make it try another kind). So a search asks by itself for a kind with
the resource ``on_demand``, one machine after the other, each once nothing else has come for a while.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trainables.machines.cluster_file import ClusterFile, as_mapping

RESOURCE = "on_demand"
"""What such a kind of machine has in a file of Ray's launcher, beside CPUs and GPUs."""
PATIENCE_SECONDS = 120.0
"""So long a search waits without a machine that runs trials, or is about to, or with none but those at the full price."""


@dataclass(frozen=True)
class Supply:
    """The machines of a cluster at one moment.

    Attributes:
        there: how many have joined that run trials.
        coming: how many were had, and have not joined yet.
        awaited: whether a trial waits for one.
        on_demand: how many of those that are there are at the full price.
        of_any_kind: how many have joined that run anything.
    """

    there: int
    coming: int
    awaited: bool
    on_demand: int = 0
    of_any_kind: int = 0


class OnDemand:
    """Asks for machines at the full price while no others can be had.

    Args:
        most: so many of them there may be at once.
        ask: asks for one beside so many that are there, and returns what takes that back.
        say: tells the user.
    """

    def __init__(
        self, most: int, ask: Callable[[int], Callable[[], object]], say: Callable[[str], object]
    ) -> None:
        self._most, self._ask, self._say = most, ask, say
        self._since: float | None = None
        self._take_back: Callable[[], object] | None = None
        self._there = 0  # when one was asked for

    def look(self, supply: Supply, now: float) -> None:
        """Ask, or take back what was asked for, as it is there.

        Args:
            supply: of the moment.
            now: seconds of some clock.
        """
        if self._take_back is not None:
            if supply.there != self._there or not supply.awaited:
                self._take_back()
                self._take_back = None
        elif not self._is_due(supply):
            self._since = None
        elif self._since is None:
            self._since = now
        elif now - self._since >= PATIENCE_SECONDS:
            waited, self._take_back, self._since = now - self._since, self._ask(supply.on_demand), None
            self._there = supply.there
            self._say(
                f"no {'further ' * bool(supply.there)}machine could be had for {waited:.0f} s: "
                f"one {'more ' * bool(supply.there)}on demand is asked for, at the full price"
            )

    def _is_due(self, supply: Supply) -> bool:
        """Whether somebody waits, no cheap machine is there, none is on its way, and one more may be had."""
        cheap = supply.there - supply.on_demand
        return supply.awaited and not cheap and not supply.coming and supply.on_demand < self._most


def most_on_demand(launcher: ClusterFile) -> int:
    """How many machines at the full price the launcher may start at once.

    Args:
        launcher: its file.
    """
    kinds = launcher.node_types.values()
    offered = sum(launcher.most_of(kind) for kind in kinds if RESOURCE in as_mapping(kind.get("resources")))
    return min(offered, launcher.most_workers)


def ask(there: int) -> Callable[[], object]:
    """A placement group waits for the resource of one machine more, and is gone with the process that made it.

    Args:
        there: machines that have the resource already.
    """
    from ray.util import placement_group, remove_placement_group  # noqa: PLC0415

    group = placement_group([{RESOURCE: 1}] * (there + 1), strategy="STRICT_SPREAD")
    return lambda: remove_placement_group(group)
