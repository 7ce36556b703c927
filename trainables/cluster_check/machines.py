"""Checks of a cluster file's machines that exist already (``provider: {type: local}``)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from minbert.files.yaml_dialect import shorten
from trainables.machines.cluster_file import ClusterFile, Finding, whole

_LABEL = r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)"
_NAME = re.compile(rf"(?=.{{1,253}}$)({_LABEL}\.)*(?![0-9]+$){_LABEL}")
_FOR_EXAMPLES = [ipaddress.ip_network(each) for each in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")]
"""Stand for addresses in texts, and are nobody's (RFC 5737)."""


def check_machines(file: ClusterFile) -> Iterator[Finding]:
    """What is wrong with the addresses of head and workers."""
    provider = file.mapping("provider")
    for key in ("available_node_types", "head_node_type"):
        if key in file.data:
            yield Finding(key, "is not allowed with machines of your own: provider.worker_ips lists them")
    head = provider.get("head_ip")
    if head is None:
        yield Finding("provider.head_ip", "is missing: the address of the machine that is the head")
    elif reason := _refusal(head):
        yield Finding("provider.head_ip", f"{shorten(head)} {reason}")
    workers = provider.get("worker_ips")
    if not isinstance(workers, list) or not workers:
        yield Finding("provider.worker_ips", "is missing: the addresses of the machines that run the trials")
        return
    for at, worker in enumerate(workers):
        path = f"provider.worker_ips.{at}"
        if reason := _refusal(worker):
            yield Finding(path, f"{shorten(worker)} {reason}")
        elif worker == head or worker in workers[:at]:
            yield Finding(path, f"{shorten(worker)} stands twice: every machine once, the head apart")
    yield from _check_counts(file, len(workers))


def most_machines(file: ClusterFile) -> int:
    """Workers that Ray starts at most, of a file without findings."""
    listed = len(file.mapping("provider")["worker_ips"])
    return min(listed, whole(file.data.get("max_workers", listed)) or 0)


def _check_counts(file: ClusterFile, machines: int) -> Iterator[Finding]:
    """All machines that may join have to do so by themselves: a search counts on what is there."""
    counts = {key: whole(file.data.get(key, machines)) for key in ("min_workers", "max_workers")}
    out = [key for key, count in counts.items() if count is None or not 1 <= count <= machines]
    for key in out:
        given = shorten(file.data[key])
        text = f"{given} is not allowed: 1 to {machines} are, as provider.worker_ips lists {machines}"
        yield Finding(key, text)
    fewest, most = counts["min_workers"], counts["max_workers"]
    if not out and fewest != most:
        said = (
            f"{fewest} is not allowed"
            if "min_workers" in file.data
            else f"is missing, and Ray takes {fewest}"
        )
        yield Finding("min_workers", f"{said}: max_workers is {most}, and a search counts on that many")


def _refusal(value: object) -> str | None:
    """Why something is no address that other machines reach."""
    if not isinstance(value, str):
        return "is no address"
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return _name_refusal(value)
    if any(address in examples for examples in _FOR_EXAMPLES):
        return "stands for an address: put that of a machine of yours in its place"
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        return "is no address that other machines reach"
    return None


def _name_refusal(value: str) -> str | None:
    host, colon, port = value.rpartition(":")
    if colon and port.isdecimal() and not _refusal(host):
        return f"is no address: leave the port out, {host}"
    if value == "localhost":
        return "is no address that other machines reach"
    return None if _NAME.fullmatch(value) else "is no address"
