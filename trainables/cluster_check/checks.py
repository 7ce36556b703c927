"""What Ray's launcher would find out late, or never: checks of a cluster file that need no cloud."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from minbert.errors import did_you_mean
from minbert.files.yaml_dialect import shorten
from trainables.cluster_check.access import check_access, check_secrets, check_token
from trainables.cluster_check.container import check_container
from trainables.cluster_check.counts import check_counts, check_fallback
from trainables.cluster_check.environment import check_environment
from trainables.cluster_check.installs import check_installs
from trainables.cluster_check.instance_types import list_prices
from trainables.cluster_check.machines import check_machines, most_machines
from trainables.cluster_check.mounts import check_left_out, check_mounts
from trainables.cluster_check.node_config import check_node_configs
from trainables.cluster_check.nodes import check_nodes, most_per_hour
from trainables.cluster_check.provider import check_provider
from trainables.cluster_check.roles import roles
from trainables.cluster_check.schema import check_schema
from trainables.cluster_check.settings import starting
from trainables.cluster_check.starts import check_starts
from trainables.cluster_check.storage import check_storage
from trainables.machines.cluster_file import AWS, LOCAL, ClusterFile, Finding, whole

_CHECKS: tuple[Callable[[ClusterFile], Iterator[Finding]], ...] = (
    check_provider,
    check_access,
    check_token,
    check_secrets,
    check_container,
    check_starts,
    check_environment,
    check_storage,
    check_mounts,
    check_left_out,
    check_installs,
)
_OF_MACHINES = {
    "max_workers",
    "min_workers",
    "idle_timeout_minutes",
    "head_node_type",
    "available_node_types",
    "metadata",
}
_OF_AWS = (check_nodes, check_node_configs, check_counts, check_fallback)


def findings(file: ClusterFile) -> list[Finding]:
    """Everything that is wrong, in the order of the file; what Ray's schema refuses is not looked at further."""
    if file.kind not in (AWS, LOCAL):
        known = f"aws and local are what is known here{did_you_mean(file.kind, (AWS, LOCAL))}"
        return [Finding("provider.type", f"{shorten(file.kind)} is not allowed: {known}")]
    refused = list(check_schema(file))
    checks = (*_CHECKS, *_OF_AWS) if file.kind == AWS else (*_CHECKS, check_machines)
    own = [finding for check in checks for finding in check(file)]
    refused_paths = {finding.path for finding in refused}
    refused += [finding for finding in own if finding.path not in refused_paths]
    return sorted(dict.fromkeys(refused), key=lambda finding: file.document.line(finding.path))


def wrong_machines(file: ClusterFile) -> list[Finding]:
    """Of a file for AWS, what is wrong with which machines it may start, how many of them and for how long."""
    found = (*check_schema(file), *check_nodes(file), *check_counts(file))
    return [each for each in found if each.path.split(".")[0] in _OF_MACHINES]


def summary(file: ClusterFile) -> str:
    """One line on what a file without findings starts, and what that costs at most an hour."""
    provider, path = file.mapping("provider"), file.document.path
    if file.kind == LOCAL:
        return _summary_of_machines(file)
    instances = {
        name: node["node_config"]["InstanceType"]
        + (" on spot" if "InstanceMarketOptions" in node["node_config"] else "")
        for name, node in file.node_types.items()
    }
    head = instances.pop(file.head_type)
    workers = ", ".join(f"{name} ({instance})" for name, instance in instances.items())
    fewest = sum(whole(node.get("min_workers", 0)) or 0 for node in file.node_types.values())
    may_come = sum(file.most_of(node) for name, node in file.node_types.items() if name != file.head_type)
    return (
        f"{path}: good: head {head}, {fewest} to {min(file.most_workers, may_come)} workers of {workers}, in "
        f"{provider['region']}; at most {most_per_hour(file):.2f} dollars an hour, disks and transfers not counted, at "
        f"{list_prices(provider['region'])}: look them up"
    )


def _summary_of_machines(file: ClusterFile) -> str:
    path, workers = file.document.path, most_machines(file)
    older = starting(roles(file)[0]).get("RAY_enable_autoscaler_v2")
    variable = "" if older is not None and older.value == "0" else "RAY_UP_enable_autoscaler_v2=0 "
    return (
        f"{path}: good: head {file.mapping('provider')['head_ip']}, {workers} worker{'s' * (workers != 1)}, machines of "
        f"your own, which need the very same Python (3.11.9 and 3.11.10 are two); start them with {variable}ray up {path}"
    )
