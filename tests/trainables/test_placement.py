"""What a trial may ask of a cluster, and how many trials it holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minbert.errors import UserError
from trainables.machines.cluster_file import ClusterFile
from trainables.machines.placement import (
    AUTO,
    Asked,
    Node,
    Placement,
    Room,
    TrialResources,
    check_gpus,
    others,
    trial_resources,
)
from trainables.search_options import gpus_per_trial, search_parser

LAPTOP = Room((Node(8),))
WORKSTATION = Room((Node(16, 2),))
EMPTY = Room((Node(0),))
GROWING = """\
provider: {type: aws}
max_workers: 5
head_node_type: head
available_node_types:
  head: {resources: {CPU: 0}, max_workers: 0}
  spot: {resources: {CPU: 4, GPU: 1}, max_workers: 4}
  on_demand: {resources: {CPU: 8, GPU: 2}, max_workers: 2}
"""


@pytest.fixture
def launcher(tmp_path: Path) -> Callable[[str], ClusterFile]:
    """The file that ``ray up`` leaves on the head."""

    def call(content: str) -> ClusterFile:
        (tmp_path / "ray_bootstrap_config.yaml").write_text(content)
        return ClusterFile(tmp_path / "ray_bootstrap_config.yaml")

    return call


def listed(*resources: dict[str, float], alive: bool = True) -> list[dict[str, Any]]:
    """As Ray lists nodes."""
    return [{"Alive": alive, "Resources": each} for each in resources]


def test_a_trial_gets_one_cpu_and_a_gpu_where_there_is_one() -> None:
    assert trial_resources(None, None, LAPTOP).request() == {"cpu": 1}
    assert trial_resources(None, None, WORKSTATION).request() == {"cpu": 1, "gpu": 1.0}


def test_a_share_of_a_gpu_is_kept() -> None:
    assert trial_resources(2, 0.25, WORKSTATION).request() == {"cpu": 2, "gpu": 0.25}


@pytest.mark.parametrize(
    ("cpus", "gpus", "room", "named"),
    [
        (0, None, LAPTOP, "--cpus-per-trial 0"),
        (9, None, LAPTOP, "--cpus-per-trial 9: no node of the cluster has more than 8 CPUs"),
        (1, 1.5, WORKSTATION, "--gpus-per-trial 1.5"),
        (1, float("nan"), WORKSTATION, "--gpus-per-trial nan"),
        (1, -1, WORKSTATION, "--gpus-per-trial -1"),
        (1, 1, LAPTOP, "no node of the cluster has more than 0 GPUs"),
        (1, 2, WORKSTATION, "--gpus-per-trial 2: 0 to 1 is possible, as a trial computes on one GPU"),
        (1, None, EMPTY, "no node of the cluster has more than 0 CPUs"),
        (5, None, Room((Node(4), Node(4))), "no node of the cluster has more than 4 CPUs"),
        (8, 1, Room((Node(8), Node(4, 1))), "no node of the cluster has both at once"),
        (9, 1, Room((Node(0),), ((Node(8, 2), 2),), 2), "no node of the cluster has more than 8 CPUs"),
    ],
)
def test_what_no_node_can_meet_is_refused(cpus: int, gpus: float | None, room: Room, named: str) -> None:
    with pytest.raises(UserError, match=named):
        trial_resources(cpus, gpus, room)


@pytest.mark.parametrize(
    ("trial", "node", "held"),
    [
        (TrialResources(1, 0), Node(8), 8),
        (TrialResources(3, 0), Node(8), 2),
        (TrialResources(1, 1), Node(8, 2), 2),
        (TrialResources(1, 1 / 3), Node(8, 1), 3),
        (TrialResources(1, 0.4), Node(8, 2), 4),  # two on each: a share is of one GPU
        (TrialResources(4, 0.25), Node(8, 2), 2),
        (TrialResources(1, 1), Node(2, 3), 2),
        (TrialResources(1, 1), Node(8), 0),
    ],
)
def test_a_node_holds_what_its_cpus_and_its_gpus_do(trial: TrialResources, node: Node, held: int) -> None:
    assert node.holds(trial) == held


def test_nodes_that_may_come_count_up_to_the_most_there_may_be(
    launcher: Callable[[str], ClusterFile],
) -> None:
    room = Room.of(listed({"CPU": 0.0, "memory": 1e9}), launcher(GROWING))
    trial = trial_resources(None, None, room)
    assert trial.request() == {"cpu": 1, "gpu": 1.0}
    assert room.slots(trial) == 2 * 2 + 3 * 1  # two of the larger ones first, then three of four
    assert room.slots_now(trial) == 0


def test_nodes_that_died_do_not_count() -> None:
    room = Room.of([*listed({"CPU": 4}), *listed({"CPU": 4}, alive=False)])
    assert room.slots(TrialResources(1, 0)) == 4


def test_machines_listed_by_address_are_waited_for_until_all_have_joined(
    launcher: Callable[[str], ClusterFile],
) -> None:
    file = launcher("provider: {type: local, head_ip: a, worker_ips: [b, c]}\n")
    assert Room.of(listed({"CPU": 0}, {"CPU": 8}), file).is_joined_by_more
    assert not Room.of(listed({"CPU": 0}, {"CPU": 8}, {"CPU": 8}), file).is_joined_by_more
    assert not Room.of(listed({"CPU": 8})).is_joined_by_more
    fewer = launcher("provider: {type: local, head_ip: a, worker_ips: [b, c]}\nmax_workers: 1\n")
    assert Room.of(listed({"CPU": 0}), fewer).is_joined_by_more
    assert not Room.of(listed({"CPU": 0}, {"CPU": 8}), fewer).is_joined_by_more


def test_listed_machines_that_come_late_are_counted_as_the_smallest_that_is_there(
    launcher: Callable[[str], ClusterFile],
) -> None:
    file = launcher("provider: {type: local, head_ip: a, worker_ips: [b, c, d, e]}\n")
    trial = TrialResources(2, 0)
    room = Room.of(listed({"CPU": 0}, {"CPU": 4}, {"CPU": 8}), file)
    assert (room.slots_now(trial), room.slots(trial)) == (6, 6 + 2 * 2)
    assert room.away == "of 5 machines 3 joined"
    whole = Room.of(listed({"CPU": 0}, *[{"CPU": 4}] * 4), file)
    assert (whole.slots_now(trial), whole.slots(trial), whole.away) == (8, 8, "")
    assert Room.of(listed({"CPU": 0}), file).slots(trial) == 0


def test_a_refusal_says_that_listed_machines_stay_away(launcher: Callable[[str], ClusterFile]) -> None:
    file = launcher("provider: {type: local, head_ip: a, worker_ips: [b, c]}\n")
    with pytest.raises(UserError, match=r"no node .* more than 0 GPUs; of 3 machines 2 joined: "):
        trial_resources(1, 1, Room.of(listed({"CPU": 0}, {"CPU": 8}), file))
    with pytest.raises(UserError, match="both at once; of 3 machines 2 joined: "):
        trial_resources(8, 1, Room.of(listed({"CPU": 8}, {"CPU": 4, "GPU": 1}), file))
    with pytest.raises(UserError, match=r"no node .* more than 0 GPUs$"):
        trial_resources(1, 1, Room.of(listed({"CPU": 0}, {"CPU": 8}, {"CPU": 8}), file))


def test_only_a_single_node_that_nothing_joins_is_one_machine(launcher: Callable[[str], ClusterFile]) -> None:
    trial = TrialResources(1, 0)
    assert Placement(LAPTOP, trial).on_one_machine
    assert not Placement(replace(LAPTOP, is_open=True), trial).on_one_machine
    assert not Placement(Room((Node(8), Node(8))), trial).on_one_machine
    assert not Placement(Room.of(listed({"CPU": 0}), launcher(GROWING)), trial).on_one_machine


@pytest.mark.parametrize("share", [0, 0.05, 0.1, 0.125, 0.1666, 0.25, 0.33, 1 / 3, 0.5, 1])
def test_shares_that_divide_a_gpu_and_a_whole_one_are_taken(share: float) -> None:
    check_gpus(share)


@pytest.mark.parametrize(
    ("share", "told"),
    [
        (0.4, "2 trials fit on a GPU, and 20% of it would be left over; use 0.5 or 0.3333"),
        (0.7, "one trial fits on a GPU, and 30% of it would be left over; use 1 or 0.5"),
        (0.17, "5 trials fit on a GPU, and 15% of it would be left over; use 0.2 or 0.1666"),
        (0.001, "a share of at least 0.05 is needed"),
        (1e-300, "a share of at least 0.05 is needed"),
        (1.5, "0 to 1 is possible, as a trial computes on one GPU"),
        (-0.5, "0 to 1 is possible, as a trial computes on one GPU"),
        (float("nan"), "0 to 1 is possible, as a trial computes on one GPU"),
        (float("inf"), "0 to 1 is possible, as a trial computes on one GPU"),
    ],
)
def test_what_leaves_a_good_part_of_a_gpu_over_is_refused_with_what_does_not(share: float, told: str) -> None:
    with pytest.raises(UserError, match=told):
        check_gpus(share)


def wanted(*options: str, device: str = "auto") -> float | str | None:
    return gpus_per_trial(search_parser(None).parse_args(["--space", "essentials", *options]), device)


def test_the_option_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINBERT_GPUS_PER_TRIAL", raising=False)
    assert wanted() is None
    monkeypatch.setenv("MINBERT_GPUS_PER_TRIAL", "0.25")
    assert wanted() == wanted(device="cpu") == 0.25
    assert wanted("--gpus-per-trial", "0.5") == 0.5
    assert wanted("--gpus-per-trial", "auto") == AUTO
    monkeypatch.setenv("MINBERT_GPUS_PER_TRIAL", "auto")
    assert wanted() == AUTO


def test_a_study_of_cpus_takes_no_gpu_unless_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINBERT_GPUS_PER_TRIAL", raising=False)
    assert wanted(device="cpu") == 0
    assert wanted("--gpus-per-trial", "0.5", device="cpu") == 0.5


@pytest.mark.parametrize("value", ["0.4", "many", "", "nan", "-1"])
def test_a_mistake_in_the_environment_names_it(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINBERT_GPUS_PER_TRIAL", value)
    with pytest.raises(UserError, match=r"^MINBERT_GPUS_PER_TRIAL "):
        wanted()


def test_another_node_is_one_that_lives_and_holds_the_trial() -> None:
    def node(name: str, gpus: float, alive: bool = True) -> dict[str, Any]:
        return {"NodeID": name, "Alive": alive, "Resources": {"CPU": 4.0, "GPU": gpus}}

    trial = TrialResources(1, 1)
    assert others([node("a", 1), node("b", 1)], {"a"}, trial)
    assert not others([node("a", 1), node("b", 0), node("c", 1, alive=False)], {"a"}, trial)


def test_what_is_asked_for_is_bounded_by_the_nodes_and_by_the_user() -> None:
    assert Asked(cpus=2).slots(WORKSTATION) == (2, TrialResources(2, 1.0))
    assert Asked(gpus=0.25).slots(WORKSTATION)[0] == 8
    assert Asked(gpus=0.25, most=3).slots(WORKSTATION)[0] == 3
    assert Asked(gpus=AUTO).slots(WORKSTATION)[0] == 2
    assert Asked(gpus=AUTO).slots(LAPTOP)[0] == 8
