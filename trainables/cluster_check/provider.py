"""Checks of a cluster's name and of its provider: where it is, and which doors are open."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from minbert.errors import did_you_mean
from minbert.files.yaml_dialect import join, shorten
from trainables.machines.cluster_file import AWS, LOCAL, ClusterFile, Finding, as_mapping

_SSH = 22
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-[0-9]")
_KNOWN = {
    AWS: (
        "type", "region", "availability_zone", "cache_stopped_nodes", "security_group", "key_pair", "cloudwatch",
        "use_internal_ips", "use_external_head_ip", "disable_node_updaters", "disable_launch_config_check",
        "foreground_node_launch", "worker_liveness_check",
    ),
    LOCAL: ("type", "head_ip", "worker_ips", "external_head_ip"),
}  # fmt: skip
"""What Ray reads there; it passes over everything else in silence."""


def check_provider(file: ClusterFile) -> Iterator[Finding]:
    """What is wrong with the cluster's name, and with what is said of where it is."""
    name, provider = file.data.get("cluster_name"), file.mapping("provider")
    if isinstance(name, str) and not _NAME.fullmatch(name):
        text = f"{shorten(name)} is not allowed: up to 63 letters, digits, hyphens and underscores are"
        yield Finding("cluster_name", text)
    if "aws_credentials" in provider:
        text = "secrets do not belong in this file, which is copied to the head; use `aws configure`"
        yield Finding("provider.aws_credentials", text)
    known = _KNOWN[file.kind]
    for key in provider.keys() - {*known, "aws_credentials"}:
        text = f"is not known for {file.kind}{did_you_mean(key, known)}; known are {', '.join(known)}"
        yield Finding(join("provider", key), text)
    if file.kind == AWS:
        yield from _check_place(provider)
        yield from _check_group(file, provider)


def _check_place(provider: dict[str, Any]) -> Iterator[Finding]:
    region = provider.get("region")
    if not isinstance(region, str) or not _REGION.fullmatch(region):
        yield Finding("provider.region", f"{shorten(region)} is no region; for example us-west-2")
    elif (regions := _regions()) and region not in regions:
        text = f"{shorten(region)} is no region of AWS{did_you_mean(region, regions)}"
        yield Finding("provider.region", text)
    elif isinstance(zones := provider.get("availability_zone"), str):
        for zone in (each.strip() for each in zones.split(",")):
            if not re.fullmatch(re.escape(region) + "[a-z]", zone):
                text = f"{shorten(zone)} is no zone of the region {region}, as {region}a is"
                yield Finding("provider.availability_zone", text)
    if provider.get("cache_stopped_nodes") is not False:
        text = "must be false: machines would only be stopped, and their disks go on costing"
        yield Finding("provider.cache_stopped_nodes", text)


@cache
def _regions() -> tuple[str, ...]:
    """Of the installed botocore, which `ray up` asks AWS with; none where it is not installed."""
    try:
        loader = importlib.import_module("botocore.loaders").Loader()
    except ImportError:
        return ()
    partitions = loader.load_data("endpoints")["partitions"]
    return tuple(region for partition in partitions for region in partition["regions"])


def _check_group(file: ClusterFile, provider: dict[str, Any]) -> Iterator[Finding]:
    """Ray lets the whole world try SSH in a group that it makes itself."""
    group = as_mapping(provider.get("security_group"))
    configs = [as_mapping(node.get("node_config")) for node in file.node_types.values()]
    named = group.get("GroupName") or (configs and all(config.get("SecurityGroupIds") for config in configs))
    if not named:
        text = "is missing: Ray would make a group of its own, which lets the whole world try port 22"
        yield Finding("provider.security_group.GroupName", text)
    rules = group.get("IpPermissions")
    for at, rule in enumerate(rules if isinstance(rules, list) else ()):
        if not _only_ssh(as_mapping(rule)):
            text = f"opens {_ports(as_mapping(rule))} to others: only 22 (SSH, tcp) is allowed, which Ray opens itself"
            yield Finding(f"provider.security_group.IpPermissions.{at}", text)


def _only_ssh(rule: dict[str, Any]) -> bool:
    sources = ("IpRanges", "Ipv6Ranges", "PrefixListIds")
    from_outside = any(rule.get(source) for source in sources) or not rule
    doors = (rule.get("IpProtocol"), rule.get("FromPort"), rule.get("ToPort"))
    return not from_outside or doors == ("tcp", _SSH, _SSH)


def _ports(rule: dict[str, Any]) -> str:
    protocol, ends = rule.get("IpProtocol"), (rule.get("FromPort"), rule.get("ToPort"))
    if protocol in ("-1", -1) or ends in ((None, None), (-1, -1)):  # AWS then takes no notice of ports
        return "all ports"
    named = "" if protocol == "tcp" else f" of the protocol {shorten(protocol)}"
    return f"the ports {shorten(f'{ends[0]} to {ends[1]}')}{named}"
