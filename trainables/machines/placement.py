"""Where trials can run: on the nodes that a cluster has, and on those that its launcher may start for them."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minbert.errors import UserError
from trainables.machines.cluster_file import ClusterFile, as_mapping

AUTO = "auto"
MONITOR_LOGS = "the head's /tmp/ray/session_latest/logs/monitor.*"
_ROUNDING = 1e-9  # three thirds are a GPU
_SMALLEST = 0.05
"""Share of a GPU; each trial costs some memory of the GPU and a core beside what it trains."""
_LEFT_OVER = 0.05
"""Share of a GPU that nobody may get, at most: a third may be written as 0.33."""


@dataclass(frozen=True)
class TrialResources:
    """CPUs and GPUs of one trial; a GPU share below 1 lets several trials share a GPU."""

    cpus: int
    gpus: float

    def request(self) -> dict[str, float]:
        """The form Ray Tune takes."""
        return {"cpu": self.cpus, "gpu": self.gpus} if self.gpus else {"cpu": self.cpus}


@dataclass(frozen=True)
class Node:
    """What one node offers to trials."""

    cpus: float
    gpus: float = 0

    def holds(self, trial: TrialResources) -> int:
        """How many such trials run here at once; a share of a GPU is of one and the same."""
        count = self.cpus // trial.cpus
        if trial.gpus:
            count = min(count, int(self.gpus) * _trials_on_one(trial.gpus))
        return int(count)


@dataclass(frozen=True)
class Room:
    """Nodes of a cluster.

    Attributes:
        there: nodes that have joined.
        kinds: nodes that the launcher may start, each with how many of them there may be at once.
        most: how many nodes there may be at once, whatever their kind.
        listed: how many machines of those that the launcher was given by their addresses join by themselves.
        is_open: whether other nodes may join by hand, as in any cluster that a search only connects to.
    """

    there: tuple[Node, ...]
    kinds: tuple[tuple[Node, int], ...] = ()
    most: int = 0
    listed: int = 0
    is_open: bool = False

    @classmethod
    def of(cls, nodes: Iterable[Mapping[str, Any]], launcher: ClusterFile | None = None) -> Room:
        """The nodes that Ray lists, and what the file of the launcher says where there is one."""
        there = tuple(_node(node["Resources"]) for node in nodes if node["Alive"])
        if launcher is None:
            return cls(there)
        kinds = tuple(
            (_node(as_mapping(kind.get("resources"))), launcher.most_of(kind))
            for name, kind in launcher.node_types.items()
            if name != launcher.head_type
        )
        return cls(there, kinds, launcher.most_workers, launcher.most_listed)

    @property
    def cpus_a_gpu(self) -> float:
        """CPUs of a node for each of its GPUs, where these are fewest; 0 where no node has a GPU."""
        return min((node.cpus / node.gpus for node in self.nodes if node.gpus), default=0.0)

    @property
    def is_joined_by_more(self) -> bool:
        """Whether listed machines are still on their way."""
        return len(self.there) < self.listed

    @property
    def away(self) -> str:
        """That listed machines are still on their way, and how many; else empty."""
        return f"of {self.listed} machines {len(self.there)} joined" if self.is_joined_by_more else ""

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Each kind of node that there is or may be."""
        return self.there + tuple(node for node, count in self.kinds if count)

    def slots(self, trial: TrialResources) -> int:
        """How many trials run at once when all nodes are there that may come."""
        left, held = self.most, 0
        for node, count in sorted(self.kinds, key=lambda kind: kind[0].holds(trial), reverse=True):
            taken = min(left, count)
            left, held = left - taken, held + taken * node.holds(trial)
        return max(held, self.slots_now(trial) + self._on_their_way(trial))

    def slots_now(self, trial: TrialResources) -> int:
        """How many trials run at once on the nodes that are there."""
        return sum(node.holds(trial) for node in self.there)

    def _on_their_way(self, trial: TrialResources) -> int:
        """How many trials the listed machines will take that have not joined, if they are as the smallest one that has."""
        smallest = min(filter(None, (node.holds(trial) for node in self.there)), default=0)
        return max(0, self.listed - len(self.there)) * smallest


@dataclass(frozen=True)
class Placement:
    """What each trial gets, and of what."""

    room: Room
    trial: TrialResources

    @property
    def slots(self) -> int:
        """How many trials run at once when all nodes are there that may come."""
        return self.room.slots(self.trial)

    @property
    def slots_now(self) -> int:
        """How many trials run at once on the nodes that are there."""
        return self.room.slots_now(self.trial)

    @property
    def on_one_machine(self) -> bool:
        """Whether trials run where the driver runs, and nowhere else."""
        return not self.room.is_open and len(self.room.there) == 1 and self.slots == self.slots_now > 0


@dataclass(frozen=True)
class Asked:
    """What the command line asks for each trial and of the machines.

    Attributes:
        cpus, gpus: of a trial; None: what is usual; ``auto`` is taken for a whole GPU, as none can be looked at.
        most: trials at a time; None: as many as fit.
        cluster: a file of Ray's launcher; None: ``cluster.yaml`` in the working directory, where there is one.
        seconds: that a trial is known to take there; None: it is as fast as here.
    """

    cpus: int | None = None
    gpus: float | str | None = None
    most: int | None = None
    cluster: Path | None = None
    seconds: float | None = None

    def slots(self, room: Room) -> tuple[int, TrialResources]:
        """Trials at a time on some nodes, and what each of them gets.

        Raises:
            UserError: no node can meet it.
        """
        share = 1.0 if self.gpus == AUTO and any(node.gpus for node in room.nodes) else self.gpus
        trial = trial_resources(self.cpus, None if isinstance(share, str) else share, room)
        return min(room.slots(trial), self.most or room.slots(trial)), trial


def trial_resources(cpus: int | None, gpus: float | None, room: Room) -> TrialResources:
    """Resources of a trial; unset: one CPU, or a whole GPU where the cluster has any.

    Raises:
        UserError: a GPU share that Ray cannot place, or more than any node has.
    """
    gpus = gpus if gpus is not None else float(any(node.gpus for node in room.nodes))
    check_gpus(gpus)
    cpus = cpus if cpus is not None else 1
    if cpus < 1:
        raise UserError(f"--cpus-per-trial {cpus}: at least 1 is needed")
    for name, wanted, offered in (
        ("cpu", cpus, [node.cpus for node in room.nodes]),
        ("gpu", gpus, [node.gpus for node in room.nodes]),
    ):
        if wanted > max(offered, default=0):
            most = f"no node of the cluster has more than {max(offered, default=0):g} {name.upper()}s"
            raise UserError(f"--{name}s-per-trial {wanted:g}: {most}{_away(room)}")
    trial = TrialResources(cpus, gpus)
    if not any(node.holds(trial) for node in room.nodes):
        raise UserError(
            f"--cpus-per-trial {cpus} --gpus-per-trial {gpus:g}: no node of the cluster has both at once{_away(room)}"
        )
    return trial


def _away(room: Room) -> str:
    """That what is asked for may be on a machine that stays away."""
    return f"; {room.away}: {MONITOR_LOGS} say why" if room.away else ""


def check_gpus(gpus: float, given_by: str = "--gpus-per-trial") -> None:
    """Refuse what no whole number of trials makes good use of.

    Args:
        gpus: of a trial.
        given_by: what the user gave it by.

    Raises:
        UserError: it is more than a GPU, or a share that does not divide one.
    """
    if not 0 <= gpus <= 1:
        raise UserError(f"{given_by} {gpus:g}: 0 to 1 is possible, as a trial computes on one GPU")
    if 0 < gpus < _SMALLEST:
        raise UserError(f"{given_by} {gpus:g}: a share of at least {_SMALLEST:g} is needed, or 0 for none")
    if not gpus:
        return
    count = _trials_on_one(gpus)
    left = 1 - count * gpus
    if left > _LEFT_OVER:
        near = " or ".join(f"{math.floor(1e4 / each) / 1e4:g}" for each in (count, count + 1))
        trials = "one trial fits" if count == 1 else f"{count} trials fit"
        raise UserError(
            f"{given_by} {gpus:g}: {trials} on a GPU, and {left:.0%} of it would be left over; use {near}"
        )


def _trials_on_one(share: float) -> int:
    return math.floor(1 / share + _ROUNDING)


def others(nodes: Iterable[Mapping[str, Any]], avoided: Container[str], trial: TrialResources) -> bool:
    """Whether the cluster has a node for a trial besides some.

    Args:
        nodes: as Ray lists them.
        avoided: ids of those that do not count.
        trial: what it needs.
    """
    return any(
        node["Alive"] and node["NodeID"] not in avoided and _node(node["Resources"]).holds(trial)
        for node in nodes
    )


def _node(resources: Mapping[str, Any]) -> Node:
    return Node(float(resources.get("CPU", 0)), float(resources.get("GPU", 0)))
