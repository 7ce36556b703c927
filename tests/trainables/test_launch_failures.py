"""What the cloud refuses: read from what Ray's own autoscaler writes down, told once, and when a search gives up."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from types import SimpleNamespace
from typing import Any, NoReturn, cast

import pytest
from botocore.exceptions import ClientError, ParamValidationError
from ray._private.ray_constants import LOGGER_FORMAT
from ray.autoscaler.node_launch_exception import NodeLaunchException
from ray.autoscaler.v2.instance_manager import node_provider
from ray.autoscaler.v2.instance_manager.subscribers import threaded_ray_installer
from ray.core.generated.instance_manager_pb2 import Instance

from trainables.machines.launch_failures import (
    HOPELESS_SECONDS,
    MOST_BROKEN,
    FailedSetup,
    FailedSetups,
    LaunchLog,
    Refusal,
    Refusals,
)
from trainables.machines.on_demand import Supply

QUOTA = (
    "VcpuLimitExceeded",
    "You have requested more vCPU capacity than your current vCPU limit of 0 allows",
)
SOLD_OUT = ("InsufficientInstanceCapacity", "There is no Spot capacity available that matches your request.")
ROLE = ("InvalidParameterValue", "Value (minbert-worker) for parameter iamInstanceProfile.name is invalid")
NOTHING = Supply(there=0, coming=0, awaited=True)


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Path]:
    """A folder in which the autoscaler writes its log as on a head."""
    handler = logging.FileHandler(tmp_path / "monitor.log")
    handler.setFormatter(logging.Formatter(LOGGER_FORMAT))
    logger, level = node_provider.logger, node_provider.logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield tmp_path
    logger.removeHandler(handler)
    logger.setLevel(level)


def refuse(kind: str, error: Exception) -> None:
    """Let Ray's autoscaler ask a cloud that answers with an error for a machine."""

    def no(*_: object) -> None:
        raise error

    config = SimpleNamespace(
        get_cloud_node_config=lambda _: {},
        get_node_resources=lambda _: {},
        get_node_labels=lambda _: {},
        get_config=lambda name, default="": default,
    )
    cloud: Any = SimpleNamespace(create_node_with_resources_and_labels=no)
    reader: Any = SimpleNamespace(get_cached_autoscaling_config=lambda: config)
    node_provider.NodeProviderAdapter(cloud, reader)._launch_nodes_by_type(kind, 1, "request")


def test_reasons_are_read_from_what_the_autoscaler_writes(logs: Path) -> None:
    refuse("spot_gpu", NodeLaunchException("Before", "the search began", None))
    log = LaunchLog(logs)
    refuse("spot_gpu", NodeLaunchException(*QUOTA, None))
    refuse("spot_gpu", ParamValidationError(report='Unknown parameter in input: "Foo",\nmust be one of: Bar'))
    answer: Any = {"Error": {"Code": "UnauthorizedOperation", "Message": "You may not."}}
    refuse("on_demand_gpu", ClientError(answer, "RunInstances"))
    assert log.new() == [
        Refusal("spot_gpu", *QUOTA),
        Refusal(
            "spot_gpu",
            "",
            'Parameter validation failed: Unknown parameter in input: "Foo", must be one of: Bar',
        ),
        Refusal("on_demand_gpu", "UnauthorizedOperation", "You may not."),
    ]
    assert log.new() == []


def test_a_line_that_is_being_written_is_read_once_it_is_whole(tmp_path: Path) -> None:
    log = LaunchLog(tmp_path)
    assert log.new() == []
    line = "2026-01-01 00:00:00,000\tINFO node_provider.py:1 -- Failed to launch 2 nodes of type spot: no\n"
    (tmp_path / "monitor.log").write_text(line[:-4])
    assert log.new() == []
    (tmp_path / "monitor.log").write_text(line)
    assert log.new() == [Refusal("spot", "", "no")]
    (tmp_path / "monitor.log").write_text(line[1:])  # begun anew
    assert [each.kind for each in log.new()] == ["spot"]


@pytest.mark.parametrize(
    ("code", "lasting"),
    [
        ("VcpuLimitExceeded", True),
        ("MaxSpotInstanceCountExceeded", True),
        ("InvalidAMIID.NotFound", True),
        ("InvalidParameterValue", True),
        ("UnauthorizedOperation", True),
        ("InsufficientInstanceCapacity", False),
        ("SpotMaxPriceTooLow", False),
        ("RequestLimitExceeded", False),
        ("InternalError", False),
        ("", False),
    ],
)
def test_quotas_roles_images_and_parameters_do_not_mend_themselves(code: str, lasting: bool) -> None:
    assert Refusal("spot", code, "text").is_lasting == lasting


class Unwilling:
    """Sets up nothing."""

    def install_ray(self, instance: Any, head: str) -> NoReturn:
        raise RuntimeError("Ray installation failed with unexpected status:\nupdate-failed")


def test_setups_that_failed_are_read_from_what_the_autoscaler_writes(logs: Path) -> None:
    handler = node_provider.logger.handlers[-1]
    installing = threaded_ray_installer.logger
    level = installing.level
    installing.addHandler(handler)
    installing.setLevel(logging.INFO)
    try:
        log = LaunchLog(logs)
        errors: Queue[Any] = Queue()
        storage: Any = None
        installer = threaded_ray_installer.ThreadedRayInstaller(
            "head", storage, cast("Any", Unwilling()), errors, install_retry_interval=0
        )
        instance = Instance(instance_id="1", cloud_instance_id="i-7", status=Instance.RAY_INSTALLING)
        installer._install_ray_on_single_node(instance)
        setup = FailedSetup("i-7", "Ray installation failed with unexpected status: update-failed")
        assert log.new() == [setup] * 3
    finally:
        installing.removeHandler(handler)
        installing.setLevel(level)


def test_a_search_whose_machines_cannot_be_set_up_says_so_and_ends_after_some() -> None:
    said: list[str] = []
    ended: list[str] = []
    setups = FailedSetups(said.append, ended.append)

    def fail(count: int, supply: Supply) -> None:
        for number in range(count):
            setups.look([FailedSetup(f"i-{number}", "no room")] * 3, supply)

    coming = Supply(there=0, coming=8, awaited=True)
    fail(MOST_BROKEN - 1, coming)
    assert (len(said), ended) == (1, [])
    assert said[0].startswith("a machine was had, and its setup failed: no room; the head's /tmp/ray/")
    setups.look([], Supply(there=1, coming=7, awaited=True))
    fail(MOST_BROKEN - 1, coming)
    assert (len(said), ended) == (1, [])
    fail(MOST_BROKEN, coming)
    assert ended[0].startswith("6 machines were had, and the setup of all failed: no room; the head's")


def ends(*looks: tuple[float, list[Refusal], Supply]) -> tuple[list[str], list[str]]:
    """What is said, and for what reasons the search ends."""
    said: list[str] = []
    ended: list[str] = []
    refusals = Refusals(said.append, ended.append)
    for now, refused, supply in looks:
        refusals.look(refused, supply, now)
    return said, ended


def again(refusals: list[Refusal], supply: Supply = NOTHING) -> list[tuple[float, list[Refusal], Supply]]:
    """The same, every five seconds, until a moment before a search gives up, and then."""
    return [(float(now), refusals, supply) for now in range(0, int(HOPELESS_SECONDS) + 5, 5)]


def test_each_reason_is_told_once_and_a_search_without_hope_ends() -> None:
    refused = [Refusal("spot", *QUOTA), Refusal("full", *ROLE)]
    said, ended = ends(*again(refused))
    assert said == [
        f"no machine of the type spot could be had: {': '.join(QUOTA)}",
        f"no machine of the type full could be had: {': '.join(ROLE)}",
    ]
    assert ended == [f"no machine can be had: spot: {': '.join(QUOTA)}; full: {': '.join(ROLE)}"]
    assert ends(*again(refused)[:-1])[1] == []


def test_a_search_goes_on_waiting_where_a_kind_is_only_sold_out() -> None:
    said, ended = ends(*again([Refusal("spot", *SOLD_OUT), Refusal("full", *QUOTA)]))
    assert (len(said), ended) == (2, [])


@pytest.mark.parametrize(
    "supply",
    [
        Supply(there=1, coming=0, awaited=True),
        Supply(there=0, coming=1, awaited=True),
        Supply(there=0, coming=0, awaited=True, of_any_kind=1),
        Supply(there=0, coming=0, awaited=False),
    ],
)
def test_a_quota_that_is_used_up_ends_nothing(supply: Supply) -> None:
    assert ends(*again([Refusal("spot", *QUOTA)], supply))[1] == []
