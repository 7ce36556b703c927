"""Checks of how many workers there may be of each node type, and of what is asked for when there are none on spot."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from trainables.machines.cluster_file import ClusterFile, Finding, as_mapping, whole
from trainables.machines.on_demand import RESOURCE


def check_counts(file: ClusterFile) -> Iterator[Finding]:
    """What contradicts itself; a count that is no number, which Ray's schema names, is compared with nothing."""
    workers = {name: node for name, node in file.node_types.items() if name != file.head_type}
    counts = [count for node in workers.values() for count in (_fewest(node), _most(file, node))]
    idle = file.data.get("idle_timeout_minutes", 0)
    if isinstance(idle, float) and not math.isfinite(idle):
        yield Finding("idle_timeout_minutes", f"{idle} is not allowed: a finite number of minutes is")
    if "max_workers" not in file.data:
        yield Finding("max_workers", "is missing: Ray would take 2")
    elif whole(file.data["max_workers"]) is None:
        return
    for name, node in workers.items():
        yield from _check_type(file, f"available_node_types.{name}", node)
    if None in counts:
        return
    least = sum(max(_fewest(node) or 0, 0) for node in workers.values())
    if least > file.most_workers:
        text = f"{file.most_workers} is not allowed: the node types' min_workers are {least} together"
        yield Finding("max_workers", text)
    if file.head_type in file.node_types and not any(file.most_of(node) > 0 for node in workers.values()):
        yield Finding("available_node_types", "no type beside the head's may start a worker")


def check_fallback(file: ClusterFile) -> Iterator[Finding]:
    """Ray does not turn from spot machines to others by itself while there are none."""
    spot = {name for name, node in file.node_types.items() if _is_spot(node)}
    for name, node in file.node_types.items():
        place = f"available_node_types.{name}.resources.{RESOURCE}"
        resources = as_mapping(node.get("resources"))
        if RESOURCE not in resources:
            if spot and name not in (*spot, file.head_type) and _comes_when_asked_for(file, node):
                text = "is missing: with 1 a search asks for such a machine while there is none on spot; Ray by itself does not"
                yield Finding(place, text)
        elif name in (*spot, file.head_type):
            text = "is not allowed: a search asks for what has it while there is no worker on spot"
            yield Finding(place, text)
        elif whole(resources[RESOURCE]) == 0:
            text = "0 is not allowed: a search asks for a machine that has 1, and none would come"
            yield Finding(place, text)


def _check_type(file: ClusterFile, path: str, node: Mapping[str, Any]) -> Iterator[Finding]:
    fewest, most = _fewest(node), _most(file, node)
    if fewest is None or most is None:
        return
    if fewest < 0 or most < 0:
        key = "min_workers" if fewest < 0 else "max_workers"
        yield Finding(f"{path}.{key}", f"{node.get(key)} is not allowed: at least 0 is")
    elif fewest > most:
        yield Finding(f"{path}.min_workers", f"{fewest} is not allowed: max_workers of the type is {most}")
    if most > file.most_workers:
        text = f"{most} is not allowed: max_workers of the cluster is {file.most_workers}"
        yield Finding(f"{path}.max_workers", text)


def _comes_when_asked_for(file: ClusterFile, node: Mapping[str, Any]) -> bool:
    return not whole(node.get("min_workers", 0)) and file.most_of(node) > 0


def _fewest(node: Mapping[str, Any]) -> int | None:
    return whole(node.get("min_workers", 0))


def _most(file: ClusterFile, node: Mapping[str, Any]) -> int | None:
    return whole(node.get("max_workers", file.most_workers))


def _is_spot(node: Mapping[str, Any]) -> bool:
    market = as_mapping(as_mapping(node.get("node_config")).get("InstanceMarketOptions"))
    return market.get("MarketType") == "spot"
