"""Watches the machines that a search waits for, where a launcher starts and ends them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from trainables.machines.cluster_file import ClusterFile
from trainables.machines.launch_failures import FailedSetup, FailedSetups, LaunchLog, Refusal, Refusals
from trainables.machines.on_demand import RESOURCE, OnDemand, Supply, ask, most_on_demand

_LOOK_SECONDS = 5.0


def watch_machines(
    launcher: ClusterFile, say: Callable[[str], object], give_up: Callable[[str], object]
) -> None:
    """Watch from now on, in a thread, what the cloud gives the launcher and what it refuses.

    Args:
        launcher: its file, on this head.
        say: tells the user.
        give_up: is told why no machine is to be had, and ends this process.
    """
    import ray  # noqa: PLC0415 - reads the environment when imported

    machines = OnDemand(most_on_demand(launcher), ask, say)
    log, refusals, setups = LaunchLog(_logs()), Refusals(say, give_up), FailedSetups(say, give_up)

    def watch() -> None:
        while ray.is_initialized():
            with suppress(Exception):  # the head is busy, or this process ends: others will say so
                supply, now = _supply(), time.monotonic()
                failures = log.new()
                refusals.look([each for each in failures if isinstance(each, Refusal)], supply, now)
                setups.look([each for each in failures if isinstance(each, FailedSetup)], supply)
                machines.look(supply, now)
            time.sleep(_LOOK_SECONDS)

    threading.Thread(target=watch, name="awaited machines", daemon=True).start()


def _logs() -> Path:
    """Where Ray's own processes on this machine write."""
    import ray  # noqa: PLC0415

    node: Any = ray._private.worker._global_node
    return Path(node.get_logs_dir_path())


def _supply() -> Supply:
    """Of this moment."""
    import ray  # noqa: PLC0415
    from ray.autoscaler.v2.sdk import get_cluster_status  # noqa: PLC0415

    status = get_cluster_status(ray.get_runtime_context().gcs_address)
    demands = status.resource_demands
    waiting = [*demands.ray_task_actor_demand, *demands.placement_group_demand]
    bundles = [each.bundle for demand in waiting for each in demand.bundles_by_count]
    return supply_of(ray.nodes(), len(status.pending_nodes), bundles)


def supply_of(
    nodes: Iterable[Mapping[str, Any]], coming: int, bundles: Iterable[Mapping[str, float]]
) -> Supply:
    """What Ray tells of a cluster, in short.

    Args:
        nodes: as Ray lists them.
        coming: machines that have not joined yet.
        bundles: resources that somebody waits for; those for a machine at the full price are our own.
    """
    wanted = [bundle for bundle in bundles if RESOURCE not in bundle]
    # Trials on CPUs run on machines without GPUs, too.
    needed = "GPU" if any(bundle.get("GPU") for bundle in wanted) else "CPU"
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    there = [resources for resources in alive if resources.get(needed)]
    return Supply(
        there=len(there),
        coming=coming,
        awaited=bool(wanted),
        on_demand=sum(RESOURCE in resources for resources in there),
        of_any_kind=sum(bool(resources.get("CPU")) for resources in alive),
    )
