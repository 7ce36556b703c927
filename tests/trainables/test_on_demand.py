"""When a search asks for a machine at the full price; tests/cluster has the whole way, against an imitation of AWS."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ray.autoscaler.v2.instance_manager.config import NodeTypeConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.schema import AutoscalerInstance
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.core.generated.autoscaler_pb2 import GangResourceRequest, NodeState, NodeStatus
from ray.core.generated.instance_manager_pb2 import Instance, NodeKind

from trainables.machines.awaited_machines import supply_of
from trainables.machines.cluster_file import ClusterFile
from trainables.machines.on_demand import PATIENCE_SECONDS, RESOURCE, OnDemand, Supply, most_on_demand

NOTHING = Supply(there=0, coming=0, awaited=True)
COMING = Supply(there=0, coming=1, awaited=True)
THERE = Supply(there=1, coming=0, awaited=True)
NOBODY_WAITS = Supply(there=0, coming=0, awaited=False)
ONE_AT_FULL_PRICE = Supply(there=1, coming=0, awaited=True, on_demand=1)
TWO_AT_FULL_PRICE = Supply(there=2, coming=0, awaited=True, on_demand=2)


def asked(supplies: Iterable[tuple[float, Supply]]) -> tuple[list[Any], list[str]]:
    """What is asked for (+) and taken back (-), and when; and what is said."""
    happened: list[Any] = []
    said: list[str] = []

    def ask(there: int) -> Any:
        happened.append(("+", now))
        return lambda: happened.append(("-", now))

    machines = OnDemand(2, ask, said.append)
    for now, supply in supplies:
        machines.look(supply, now)
    return happened, said


def every_five_seconds(start: float, end: float, supply: Supply) -> list[tuple[float, Supply]]:
    return [(float(second), supply) for second in range(int(start), int(end), 5)]


def test_one_is_asked_for_once_none_came_for_a_while_and_taken_back_when_one_is_there() -> None:
    happened, said = asked([*every_five_seconds(0, 600, NOTHING), (600, COMING), (700, THERE), (900, THERE)])
    assert happened == [("+", PATIENCE_SECONDS), ("-", 700)]
    assert said == ["no machine could be had for 120 s: one on demand is asked for, at the full price"]


def test_none_is_asked_for_while_one_is_on_its_way_however_long_that_takes() -> None:
    looks = [
        *every_five_seconds(0, 100, NOTHING),
        *every_five_seconds(100, 900, COMING),
        *every_five_seconds(900, 1000, NOTHING),
    ]
    assert asked(looks) == ([], [])


def test_none_is_asked_for_where_nobody_waits_or_machines_are_there() -> None:
    assert asked(every_five_seconds(0, 900, NOBODY_WAITS)) == ([], [])
    assert asked(every_five_seconds(0, 900, THERE)) == ([], [])


def test_it_is_asked_for_again_when_that_one_too_is_lost() -> None:
    looks = [
        *every_five_seconds(0, 200, NOTHING),
        (200, THERE),
        *every_five_seconds(300, 600, NOTHING),
    ]
    assert [each for each, _ in asked(looks)[0]] == ["+", "-", "+"]


def test_nothing_is_said_of_a_machine_that_could_not_be_asked_for() -> None:
    said: list[str] = []

    def ask(there: int) -> Any:
        raise RuntimeError("the head is busy")

    machines = OnDemand(2, ask, said.append)
    for now, supply in every_five_seconds(0, 300, NOTHING):
        with suppress(RuntimeError):
            machines.look(supply, now)
    assert said == []


def test_they_are_asked_for_one_after_the_other_up_to_as_many_as_there_may_be() -> None:
    looks = [
        *every_five_seconds(0, 200, NOTHING),
        *every_five_seconds(200, 500, ONE_AT_FULL_PRICE),
        *every_five_seconds(500, 7200, TWO_AT_FULL_PRICE),
    ]
    happened, said = asked(looks)
    assert happened == [("+", 120), ("-", 200), ("+", 325), ("-", 500)]
    assert (
        said[1]
        == "no further machine could be had for 120 s: one more on demand is asked for, at the full price"
    )


def test_no_second_one_is_asked_for_while_a_cheap_one_is_there() -> None:
    assert asked(every_five_seconds(0, 900, Supply(2, 0, True, on_demand=1))) == ([], [])


def test_what_was_asked_for_is_taken_back_when_nobody_waits_any_more() -> None:
    looks = [*every_five_seconds(0, 200, NOTHING), (200.0, NOBODY_WAITS)]
    assert asked(looks)[0] == [("+", 120), ("-", 200)]


def test_as_many_are_asked_for_as_the_file_lets_there_be(tmp_path: Path) -> None:
    def most(kinds: str) -> int:
        path = tmp_path / "cluster.yaml"
        path.write_text(f"max_workers: 8\navailable_node_types:\n  spot: {{resources: {{GPU: 1}}}}\n{kinds}")
        return most_on_demand(ClusterFile(path))

    assert most("  full: {resources: {GPU: 1, on_demand: 1}, max_workers: 2}\n") == 2
    assert most("  full: {resources: {GPU: 1, on_demand: 1}}\n") == 8
    assert most("") == 0


def test_machines_and_those_who_wait_are_counted_as_ray_lists_them() -> None:
    nodes = [
        {"Alive": True, "Resources": {"memory": 9.0}},
        {"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0}},
        {"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0, RESOURCE: 1.0}},
        {"Alive": True, "Resources": {"CPU": 4.0}},
        {"Alive": False, "Resources": {"CPU": 4.0, "GPU": 1.0}},
    ]
    assert supply_of(nodes, 1, [{"CPU": 1, "GPU": 1}]) == Supply(2, 1, True, on_demand=1, of_any_kind=3)
    assert not supply_of(nodes, 1, [{RESOURCE: 1}]).awaited  # that is what we asked for


def test_no_machine_with_gpus_is_asked_for_where_trials_on_cpus_have_one_without() -> None:
    nodes = [{"Alive": True, "Resources": {"CPU": 4.0}}]
    on_cpus, on_gpus = (supply_of(nodes, 0, [bundle]) for bundle in ({"CPU": 1}, {"CPU": 1, "GPU": 0.5}))
    assert asked(every_five_seconds(0, 900, on_cpus)) == ([], [])
    assert [each for each, _ in asked(every_five_seconds(0, 900, on_gpus))[0]] == ["+"]


def test_rays_autoscaler_starts_one_more_where_one_is_there() -> None:
    has = {"CPU": 4, "GPU": 1, RESOURCE: 1}
    node = NodeState(node_id=b"there", ray_node_type_name="full", status=NodeStatus.RUNNING)
    node.total_resources.update(has)
    node.available_resources.update({RESOURCE: 1})
    machine = Instance(instance_id="1", instance_type="full", cloud_instance_id="i-1")
    machine.status, machine.node_kind = Instance.RAY_RUNNING, NodeKind.WORKER
    kinds = {
        "spot": NodeTypeConfig("spot", 0, 8, resources={"CPU": 4, "GPU": 1}, priority=1),
        "full": NodeTypeConfig("full", 0, 2, resources=has),
        "head": NodeTypeConfig("head", 0, 0, resources={"CPU": 0}),
    }
    apart = [(ResourceRequestUtil.PlacementConstraintType.ANTI_AFFINITY, "group", "ours")]
    group = GangResourceRequest(requests=[ResourceRequestUtil.make({RESOURCE: 1}, apart)] * 2)
    request = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=kinds,
        max_num_nodes=8,
        gang_resource_requests=[group],
        current_instances=[AutoscalerInstance("i-1", node, machine)],
    )
    (launch,) = ResourceDemandScheduler(None).schedule(request).to_launch
    assert (launch.instance_type, launch.count) == ("full", 1)
