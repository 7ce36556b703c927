"""Checks of a cluster file's machines on AWS: which they are, what they have for trials, and what they cost at most."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from minbert.errors import did_you_mean
from minbert.files.yaml_dialect import shorten
from trainables.cluster_check.instance_types import INSTANCE_TYPES, InstanceType
from trainables.machines.cluster_file import ClusterFile, Finding, as_mapping, whole

_ANOTHER = "another is allowed once metadata.instance_types says what it has and costs"


def check_nodes(file: ClusterFile) -> Iterator[Finding]:
    """What is wrong with the node types, each by itself and together."""
    if "available_node_types" not in file.data:
        yield Finding("available_node_types", "is missing: it says which machines Ray may start")
        return
    yield from _check_own_types(file)
    yield from _check_head(file)
    for name, node in file.node_types.items():
        runs_trials = file.head_type in file.node_types and name != file.head_type
        yield from _check_instance(file, f"available_node_types.{name}", node, runs_trials)


def most_per_hour(
    file: ClusterFile,
    used: Callable[[Mapping[str, Any], int], int] = lambda _, left: left,
    holds: Callable[[Mapping[str, Any]], int] = lambda _: 0,
) -> float:
    """US dollars an hour with the head and every worker that may be, at list prices on demand.

    Args:
        file: without findings.
        used: how many workers of a node type are of use, where so many may still come; those that are always there cost
            all the same.
        holds: trials that a worker of a node type takes at once: those with most come first, of equal ones the dearest.
    """
    types = known_types(file)
    left, total = file.most_workers, 0.0
    priced = [
        (holds(node), types[as_mapping(node["node_config"])["InstanceType"]].usd_per_hour, name, node)
        for name, node in file.node_types.items()
    ]
    for _, price, name, node in sorted(priced, key=lambda each: each[:2], reverse=True):
        if name == file.head_type:
            total += price
            continue
        may_come = min(left, file.most_of(node))
        taken = min(may_come, max(used(node, may_come), whole(node.get("min_workers", 0)) or 0))
        left, total = left - taken, total + taken * price
    return total


def known_types(file: ClusterFile) -> dict[str, InstanceType]:
    """The instance types of our list and those that the file describes."""
    types = dict(INSTANCE_TYPES)
    for name, given in as_mapping(file.mapping("metadata").get("instance_types")).items():
        if (described := _described(given)) is not None:
            types[name] = described
    return types


def most_gpus(file: ClusterFile) -> int | None:
    """GPUs of the largest worker that the file offers; None where it does not say so in numbers."""
    offered = [0]
    for name, node in file.node_types.items():
        gpus = whole(as_mapping(node.get("resources")).get("GPU", 0))
        most = whole(node.get("max_workers", file.data.get("max_workers", 0)))
        if name == file.head_type:
            continue
        if gpus is None or most is None:
            return None
        offered += [gpus] if most > 0 else []
    return max(offered)


def _described(given: object) -> InstanceType | None:
    parts = as_mapping(given)
    cpus, gpus, price = whole(parts.get("cpus")), whole(parts.get("gpus")), parts.get("usd_per_hour")
    if cpus is None or gpus is None or isinstance(price, bool) or not isinstance(price, (int, float)):
        return None
    good = set(parts) == {"cpus", "gpus", "usd_per_hour"} and cpus > 0 and gpus >= 0 and 0 <= price < math.inf
    return InstanceType(cpus, gpus, float(price)) if good else None


def _check_own_types(file: ClusterFile) -> Iterator[Finding]:
    for name, given in as_mapping(file.mapping("metadata").get("instance_types")).items():
        if _described(given) is None:
            text = f"{shorten(given)} is not allowed: write {{cpus: 8, gpus: 1, usd_per_hour: 1.5}}"
            yield Finding(f"metadata.instance_types.{name}", text)


def _check_head(file: ClusterFile) -> Iterator[Finding]:
    if file.head_type not in file.node_types:
        if "head_node_type" not in file.data:
            yield Finding("head_node_type", f"is missing: one of {', '.join(file.node_types)}")
            return
        text = f"{shorten(file.head_type)} is not allowed: the node types are {', '.join(file.node_types)}"
        yield Finding("head_node_type", text + did_you_mean(file.head_type, file.node_types))
        return
    head, path = file.node_types[file.head_type], f"available_node_types.{file.head_type}"
    for key in ("min_workers", "max_workers"):
        if whole(head.get(key, 0)) != 0:
            text = f"{shorten(head[key])} is not allowed: the head's type starts no workers, so 0"
            yield Finding(f"{path}.{key}", text)
    resources = head.get("resources")
    if isinstance(resources, dict) and (resources.get("CPU") != 0 or resources.get("GPU", 0) != 0):
        text = f"{shorten(resources)} is not allowed: the head starts no trials, so {{CPU: 0}}"
        yield Finding(f"{path}.resources", text)


def _check_instance(
    file: ClusterFile, path: str, node: dict[str, Any], runs_trials: bool
) -> Iterator[Finding]:
    types = known_types(file)
    config = as_mapping(node.get("node_config"))
    place = f"{path}.node_config.InstanceType"
    if "InstanceType" not in config:
        yield Finding(place, "is missing: for example g5.xlarge")
        return
    name = config["InstanceType"]
    if not isinstance(name, str) or name not in types:
        near = did_you_mean(name, types)
        yield Finding(place, f"{shorten(name)} is not one that we know{near}; {_ANOTHER}")
    elif runs_trials and isinstance(node.get("resources"), dict):
        yield from _check_resources(f"{path}.resources", node["resources"], name, types[name])


def _check_resources(
    path: str, resources: dict[str, Any], name: str, machine: InstanceType
) -> Iterator[Finding]:
    """Ray starts a machine for what a trial asks when the node type says that it has it, and believes what it says."""
    cpus, gpus = whole(resources.get("CPU", 0)), whole(resources.get("GPU", 0))
    if cpus is not None and cpus > machine.cpus:
        yield Finding(f"{path}.CPU", f"{cpus} is not allowed: a {name} has {machine.cpus} CPUs")
    elif cpus is not None and cpus < 1:
        said = f"{cpus} is not allowed" if "CPU" in resources else "is missing"
        yield Finding(f"{path}.CPU", f"{said}: every trial takes a CPU, and a {name} has {machine.cpus}")
    if gpus is not None and gpus > machine.gpus:
        yield Finding(f"{path}.GPU", f"{gpus} is not allowed: a {name} has {machine.gpus} GPUs")
    elif gpus is not None and gpus < machine.gpus:
        said = f"{gpus} is not allowed" if "GPU" in resources else "is missing"
        text = f"{said}: a {name} has {machine.gpus} GPUs, and trials would not find them"
        yield Finding(f"{path}.GPU", text)
