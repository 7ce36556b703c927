"""Checks of what a node type asks AWS for: whether AWS takes it, its image, its market, its role and its disk."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from minbert.errors import did_you_mean
from minbert.files.yaml_dialect import shorten
from trainables.cluster_check.run_instances import misfits
from trainables.machines.cluster_file import ClusterFile, Finding, as_mapping, whole

_MARKETS = ("spot", "capacity-block")
_PINNED = re.compile(r"ami-([0-9a-f]{8}|[0-9a-f]{17})|resolve:ssm:/?[\w./-]+:[0-9]+")
_TURNS_OFF = re.compile(r"\b(shutdown|poweroff|halt)\b")
_LEAST_DISK = 100
"""GB that system, driver, container, and torch with CUDA fill, and some for a study's data."""


def check_node_configs(file: ClusterFile) -> Iterator[Finding]:
    """What AWS would refuse, again and again, and what it would take although it does not serve."""
    turn_off = file.head_type in file.node_types and any(
        _TURNS_OFF.search(text) for _, text in file.texts("initialization_commands")
    )
    for name, node in file.node_types.items():
        if not isinstance(node.get("node_config"), dict):
            continue  # Ray's schema says so
        path, config = f"available_node_types.{name}.node_config", node["node_config"]
        own = [
            *_check_image(path, config),
            *_check_market(path, config, name == file.head_type),
            *_check_role(path, config),
            *_check_disk(path, config),
            *(_check_shutdown(path, config) if name != file.head_type and turn_off else ()),
        ]
        told = [finding.path for finding in own]
        yield from own
        yield from (
            each for each in misfits(config, path) if not any(_is_about(each.path, at) for at in told)
        )


def _is_about(one: str, other: str) -> bool:
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def _check_image(path: str, config: dict[str, Any]) -> Iterator[Finding]:
    place = f"{path}.ImageId"
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
    place = f"{path}.InstanceMarketOptions"
    options = as_mapping(config["InstanceMarketOptions"])
    market = options.get("MarketType")
    if market not in _MARKETS:
        text = f"{shorten(market)} is not allowed: the markets are {', '.join(_MARKETS)}"
        yield Finding(f"{place}.MarketType", text + did_you_mean(market, _MARKETS))
    elif is_head:
        yield Finding(place, "the head may not be a spot machine: with it the cluster ends")
    spot = as_mapping(options.get("SpotOptions"))
    yield from _check_request(f"{place}.SpotOptions", spot)
    limit = spot.get("MaxPrice")
    if limit is not None and not isinstance(limit, str):
        text = f"{shorten(limit)} is not allowed: AWS takes a price as quoted text, '{limit}'"
        yield Finding(f"{place}.SpotOptions.MaxPrice", text)
    elif limit is not None and not _is_price(limit):
        text = f"{shorten(limit)} is not allowed: dollars an hour above 0 are, such as '0.5'"
        yield Finding(f"{place}.SpotOptions.MaxPrice", text)


def _check_request(place: str, spot: dict[str, Any]) -> Iterator[Finding]:
    """AWS starts what a lasting request asked for again, also after Ray has ended it."""
    if spot.get("SpotInstanceType") == "persistent":
        text = "persistent is not allowed: AWS would start machines again that Ray has ended; one-time is"
        yield Finding(f"{place}.SpotInstanceType", text)
    if (taken_back := spot.get("InstanceInterruptionBehavior")) in ("stop", "hibernate"):
        text = f"{taken_back} is not allowed: Ray goes on without the machine, whose disk would cost; terminate is"
        yield Finding(f"{place}.InstanceInterruptionBehavior", text)


def _is_price(text: str) -> bool:
    return re.fullmatch(r"[0-9]*\.?[0-9]+", text) is not None and 0 < float(text) < math.inf


def _check_role(path: str, config: dict[str, Any]) -> Iterator[Finding]:
    place = f"{path}.IamInstanceProfile"
    if "IamInstanceProfile" not in config:
        text = "is missing: through this role a machine reaches the study's storage without keys in files"
        yield Finding(place, text)
        return
    profile = as_mapping(config["IamInstanceProfile"])
    named = [profile[key] for key in ("Name", "Arn") if profile.get(key)]
    if len(named) != 1 or not isinstance(named[0], str):
        text = (
            f"{shorten(config['IamInstanceProfile'])} is not allowed: {{Name: minbert-worker}} is, or an Arn"
        )
        yield Finding(place, text)


def _check_shutdown(path: str, config: dict[str, Any]) -> Iterator[Finding]:
    """A machine that turns itself off is only stopped by itself."""
    said = config.get("InstanceInitiatedShutdownBehavior")
    if said in (None, "stop"):
        how = "is missing" if said is None else f"{said} is not allowed"
        text = (
            f"{how}: a worker that turns itself off would only be stopped, and its disk cost; write terminate"
        )
        yield Finding(f"{path}.InstanceInitiatedShutdownBehavior", text)


def _check_disk(path: str, config: dict[str, Any]) -> Iterator[Finding]:
    place = f"{path}.BlockDeviceMappings"
    listed = config.get("BlockDeviceMappings")
    disks = [as_mapping(as_mapping(each).get("Ebs")) for each in listed] if isinstance(listed, list) else []
    sizes = {at: whole(disk["VolumeSize"]) for at, disk in enumerate(disks) if "VolumeSize" in disk}
    if not sizes and (listed is None or disks):
        text = f"says no VolumeSize: the image's own disk is small; at least {_LEAST_DISK} (GB) is allowed"
        yield Finding(place, text)
    known = {at: size for at, size in sizes.items() if size is not None}
    if known and len(known) == len(sizes) and max(known.values()) < _LEAST_DISK:
        at = max(known, key=lambda each: known[each])
        text = f"{known[at]} is not allowed: at least {_LEAST_DISK} (GB) is, which container and torch fill"
        yield Finding(f"{place}.{at}.Ebs.VolumeSize", text)
    for at, disk in enumerate(disks):
        if disk.get("DeleteOnTermination") is False:
            text = "false is not allowed: disks of machines that are gone go on costing"
            yield Finding(f"{place}.{at}.Ebs.DeleteOnTermination", text)
