"""Checks of a cluster file's machines that exist already (``provider: {type: local}``)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from minbert.files.yaml_dialect import shorten
from trainables.machines.cluster_file import ClusterFile, Finding, whole

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?")


def check_machines(file: ClusterFile) -> Iterator[Finding]:
    """What is wrong with the addresses of head and workers."""
    provider = file.mapping("provider")
    for key in ("available_node_types", "head_node_type"):
        if key in file.data:
            yield Finding(key, "is not allowed with machines of your own: provider.worker_ips lists them")
    head = provider.get("head_ip")
    if head is None:
        yield Finding("provider.head_ip", "is missing: the address of the machine that is the head")
    elif not _is_host(head):
        yield Finding("provider.head_ip", f"{shorten(head)} is no address")
    workers = provider.get("worker_ips")
    if not isinstance(workers, list) or not workers:
        yield Finding("provider.worker_ips", "is missing: the addresses of the machines that run the trials")
        return
    for at, worker in enumerate(workers):
        path = f"provider.worker_ips.{at}"
        if not _is_host(worker):
            yield Finding(path, f"{shorten(worker)} is no address")
        elif worker == head or worker in workers[:at]:
            yield Finding(path, f"{shorten(worker)} stands twice: every machine once, the head apart")
    yield from _check_counts(file, len(workers))


def _check_counts(file: ClusterFile, machines: int) -> Iterator[Finding]:
    for key in ("min_workers", "max_workers"):
        count = file.data.get(key, machines)
        if (whole(count) or 0) > machines:
            yield Finding(key, f"{count} is not allowed: provider.worker_ips lists {machines}")
    fewest, most = whole(file.data.get("min_workers")), whole(file.data.get("max_workers"))
    if fewest is not None and most is not None and most < fewest <= machines:
        yield Finding("min_workers", f"{fewest} is not allowed: max_workers is {most}")


def _is_host(value: object) -> bool:
    return isinstance(value, str) and _HOST.fullmatch(value) is not None
