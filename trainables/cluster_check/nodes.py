"""Checks of a cluster file's machines on AWS: types, markets, images, counts, and what they cost at most."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from minbert.errors import did_you_mean
from minbert.files.yaml_dialect import shorten
from trainables.cluster_check.instance_types import INSTANCE_TYPES, InstanceType
from trainables.machines.cluster_file import ClusterFile, Finding, as_mapping, whole
from trainables.machines.on_demand import RESOURCE

_MARKETS = ("spot", "capacity-block")
_PINNED = re.compile(r"ami-([0-9a-f]{8}|[0-9a-f]{17})|resolve:ssm:/?[\w./-]+:[0-9]+")
_ANOTHER = "another is allowed once metadata.instance_types says what it has and costs"


def check_nodes(file: ClusterFile) -> Iterator[Finding]:
    """What is wrong with the node types, each by itself and together."""
    if "available_node_types" not in file.data:
        yield Finding("available_node_types", "is missing: it says which machines Ray may start")
        return
    yield from _check_own_types(file)
    yield from _check_head(file)
    for name, node in file.node_types.items():
        path = f"available_node_types.{name}"
        config = as_mapping(node.get("node_config"))
        yield from _check_instance(file, path, node, config)
        yield from _check_image(path, config)
        yield from _check_market(path, config, name == file.head_type)
        if "IamInstanceProfile" not in config:
            text = "is missing: through this role a machine reaches the study's storage without keys in files"
            yield Finding(f"{path}.node_config.IamInstanceProfile", text)
    yield from _check_counts(file)
    yield from _check_fallback(file)


def most_per_hour(file: ClusterFile) -> float:
    """US dollars an hour with every worker that may be, at list prices on demand."""
    types = known_types(file)
    left, total = file.most_workers, 0.0
    priced = [
        (types[as_mapping(node["node_config"])["InstanceType"]].usd_per_hour, name, node)
        for name, node in file.node_types.items()
    ]
    for price, name, node in sorted(priced, key=lambda each: each[0], reverse=True):
        if name == file.head_type:
            total += price
            continue
        taken = min(left, file.most_of(node))
        left, total = left - taken, total + taken * price
    return total


def known_types(file: ClusterFile) -> dict[str, InstanceType]:
    """The instance types of our list and those that the file describes."""
    types = dict(INSTANCE_TYPES)
    for name, given in as_mapping(file.mapping("metadata").get("instance_types")).items():
        if (described := _described(given)) is not None:
            types[name] = described
    return types


def most_gpus(file: ClusterFile) -> int:
    """GPUs of the largest worker that the file offers."""
    offered = [
        whole(as_mapping(node.get("resources")).get("GPU")) or 0
        for name, node in file.node_types.items()
        if name != file.head_type and file.most_of(node) > 0
    ]
    return max(offered, default=0)


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
    file: ClusterFile, path: str, node: dict[str, Any], config: dict[str, Any]
) -> Iterator[Finding]:
    types = known_types(file)
    place = f"{path}.node_config.InstanceType"
    if "InstanceType" not in config:
        yield Finding(place, "is missing: for example g5.xlarge")
        return
    name = config["InstanceType"]
    if not isinstance(name, str) or name not in types:
        yield Finding(
            place, f"{shorten(name)} is not one that we know{did_you_mean(name, types)}; {_ANOTHER}"
        )
        return
    resources = as_mapping(node.get("resources"))
    for key, has in (("CPU", types[name].cpus), ("GPU", types[name].gpus)):
        offered = whole(resources.get(key, 0))
        if offered is not None and offered > has:
            yield Finding(f"{path}.resources.{key}", f"{offered} is not allowed: a {name} has {has} {key}s")
    if types[name].gpus and "resources" in node and "GPU" not in resources:
        text = f"is missing: a {name} has {types[name].gpus} GPUs, and trials would not find them"
        yield Finding(f"{path}.resources.GPU", text)


def _check_image(path: str, config: dict[str, Any]) -> Iterator[Finding]:
    place = f"{path}.node_config.ImageId"
    if "ImageId" not in config:
        text = "is missing: Ray would take its own of years ago, whose driver is too old for the pinned torch"
        yield Finding(place, text)
        return
    image = config["ImageId"]
    if not isinstance(image, str) or not _PINNED.fullmatch(image) or not image.strip("ami-0"):
        allowed = "an image's id (ami-0123456789abcdef0) or resolve:ssm:NAME:VERSION"
        yield Finding(place, f"{shorten(image)} is not pinned: write {allowed}")


def _check_market(path: str, config: dict[str, Any], is_head: bool) -> Iterator[Finding]:
    if "InstanceMarketOptions" not in config:
        return
    place = f"{path}.node_config.InstanceMarketOptions"
    options = as_mapping(config["InstanceMarketOptions"])
    market = options.get("MarketType")
    if market not in _MARKETS:
        text = f"{shorten(market)} is not allowed: the markets are {', '.join(_MARKETS)}"
        yield Finding(f"{place}.MarketType", text + did_you_mean(market, _MARKETS))
    elif is_head:
        yield Finding(place, "the head may not be a spot machine: with it the cluster ends")
    limit = as_mapping(options.get("SpotOptions")).get("MaxPrice")
    if limit is not None and not isinstance(limit, str):
        text = f"{shorten(limit)} is not allowed: AWS takes a price as quoted text, '{limit}'"
        yield Finding(f"{place}.SpotOptions.MaxPrice", text)


def _check_fallback(file: ClusterFile) -> Iterator[Finding]:
    """Ray does not turn from spot machines to others by itself while there are none."""
    workers = {name: node for name, node in file.node_types.items() if name != file.head_type}
    spot = {name for name, node in workers.items() if _is_spot(node)}
    for name in sorted(workers.keys() - spot) if spot else ():
        node = workers[name]
        resources = as_mapping(node.get("resources"))
        if not whole(node.get("min_workers", 0)) and file.most_of(node) > 0 and RESOURCE not in resources:
            text = "is missing: with 1 a search asks for such a machine while there is none on spot; Ray by itself does not"
            yield Finding(f"available_node_types.{name}.resources.{RESOURCE}", text)


def _is_spot(node: dict[str, Any]) -> bool:
    market = as_mapping(as_mapping(node.get("node_config")).get("InstanceMarketOptions"))
    return market.get("MarketType") == "spot"


def _check_counts(file: ClusterFile) -> Iterator[Finding]:
    if "max_workers" not in file.data:
        yield Finding("max_workers", "is missing: Ray would take 2")
    workers = {name: node for name, node in file.node_types.items() if name != file.head_type}
    least = 0
    for name, node in workers.items():
        path = f"available_node_types.{name}"
        fewest, most = whole(node.get("min_workers", 0)) or 0, file.most_of(node)
        least += max(fewest, 0)
        if fewest < 0 or most < 0:
            key = "min_workers" if fewest < 0 else "max_workers"
            yield Finding(f"{path}.{key}", f"{node[key]} is not allowed: at least 0 is")
        elif fewest > most:
            yield Finding(
                f"{path}.min_workers", f"{fewest} is not allowed: max_workers of the type is {most}"
            )
        if most > file.most_workers:
            text = f"{most} is not allowed: max_workers of the cluster is {file.most_workers}"
            yield Finding(f"{path}.max_workers", text)
    if least > file.most_workers:
        text = f"{file.most_workers} is not allowed: the node types' min_workers are {least} together"
        yield Finding("max_workers", text)
    if file.head_type in file.node_types and not any(file.most_of(node) > 0 for node in workers.values()):
        yield Finding("available_node_types", "no type beside the head's may start a worker")
