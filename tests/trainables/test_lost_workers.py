"""Workers, nodes and links that are lost in mid-trial: real processes of a real Ray, killed or stopped."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from ray.cluster_utils import Cluster

from minbert.now import NOW
from tests.trainables.commands import start_search
from tests.trainables.killing import arm
from tests.trainables.studies import (
    attempts,
    counted,
    folder_of,
    history,
    predictions,
    repeat,
    state_names,
    wait_until,
    wait_until_all_end,
    weights,
)
from trainables.machines.lost_nodes import FRUITLESS

# Long enough for a loss in the middle, whatever else the machine does.
SPACE = """\
description: A trial whose worker is lost
search: {design: listed}
runs: {mean: {}}
stages: {finetune: {epochs: 8, epoch_examples: 200}}
"""
OPTIONS = ("--set", "device=cpu", "--set", "precision=fp32")
THREE = """\
description: Trials one after the other in one worker, which is lost in between
search: {design: listed}
runs: {mean: {}, cls: {set: {pooling: cls}}, pooler: {set: {pooling: pooler}}}
stages: {finetune: {epochs: 2, epoch_examples: 48}}
"""
REUSED = "worker.reused"
_HANG = 180


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return path


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head that runs no trials and two nodes for one trial each; a lost link is noticed within seconds."""
    fast = {
        "health_check_initial_delay_ms": 1000,
        "health_check_period_ms": 1000,
        "health_check_timeout_ms": 2000,
        "health_check_failure_threshold": 4,
    }
    common = {"node_ip_address": "127.0.0.1", "include_dashboard": False}
    head = {"num_cpus": 0, "_system_config": fast, **common}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        cluster.add_node(num_cpus=1, **common)
    yield cluster
    cluster.shutdown()


def two_epochs_done(trial: Path) -> bool:
    return (trial / "history.jsonl").is_file() and (trial / "history.jsonl").read_text().count("\n") >= 2


def start(folder: Path, space: Path, *options: str) -> tuple[subprocess.Popen[str], Path]:
    """Start a search and wait until its trial is in the middle."""
    process = start_search(folder, *OPTIONS, *options, space=space)
    trial = folder_of(folder / "results" / "space", 0)
    wait_until(lambda: two_epochs_done(trial), process)
    return process, trial


def assert_ends_as_if_undisturbed(process: subprocess.Popen[str], trial: Path, tmp_path: Path) -> None:
    output, errors = process.communicate(timeout=_HANG)
    assert process.returncode == 0, output + errors
    (told,) = counted(trial.parent.parent)
    first, second = attempts(trial)
    assert told.state.name == "COMPLETE"
    assert told.user_attrs["attempts"] == 2
    assert second["epochs"] >= 2  # gone on from a checkpoint, not begun again
    assert first["process"] != second["process"]
    alone = repeat(trial, tmp_path / "alone")
    assert history(trial) == history(alone)
    assert weights(trial) == weights(alone) != {}
    assert predictions(trial) == predictions(alone) != {}


def test_a_killed_workers_trial_goes_on_from_its_last_checkpoint(tmp_path: Path, space: Path) -> None:
    process, trial = start(tmp_path, space)
    os.kill(attempts(trial)[0]["process"], signal.SIGKILL)
    assert_ends_as_if_undisturbed(process, trial, tmp_path)
    wait_until_all_end(tmp_path)


@pytest.mark.chaos
def test_a_worker_that_dies_while_it_is_handed_its_next_trial_costs_no_trial(
    tmp_path: Path, space: Path
) -> None:
    space.write_text(THREE)
    arm(tmp_path, REUSED)
    options = ("--max-concurrent", "1")
    process = start_search(tmp_path, *OPTIONS, *options, space=space, failpoints=tmp_path)
    output, errors = process.communicate(timeout=_HANG)
    assert (process.returncode, errors) == (0, ""), output
    assert not (tmp_path / REUSED).exists(), "no worker was used again"
    study = tmp_path / "results" / "space"
    assert state_names(study) == ["COMPLETE"] * 3
    for number in range(3):
        trial = folder_of(study, number)
        alone = repeat(trial, tmp_path / f"alone-{number}")
        assert history(trial) == history(alone)
        assert weights(trial) == weights(alone) != {}


@pytest.mark.chaos
def test_a_trial_whose_worker_dies_again_and_again_within_one_epoch_is_given_up(
    tmp_path: Path, space: Path
) -> None:
    process = start_search(tmp_path, *OPTIONS, "--set", "stages.finetune.epoch_examples=20000", space=space)
    study = tmp_path / "results" / "space"
    for number in range(1, 5):
        wait_until(lambda n=number: len(attempts(folder_of(study, 0))) == n, process)  # type: ignore[misc]
        os.kill(attempts(folder_of(study, 0))[-1]["process"], signal.SIGKILL)
    process.communicate(timeout=_HANG)
    (trial,) = counted(study)
    assert (trial.state.name, trial.user_attrs["cause"]) == ("FAIL", "lost")
    assert trial.user_attrs["message"] == "lost 4 workers without a checkpoint in between"


@pytest.mark.chaos
def test_a_trial_that_a_time_limit_ended_fails_for_that_and_is_not_tried_again(
    tmp_path: Path, space: Path
) -> None:
    process = start_search(tmp_path, *OPTIONS, "--step-timeout", "0.02", space=space)
    output, _ = process.communicate(timeout=_HANG)
    assert process.returncode == 0, output
    (trial,) = counted(tmp_path / "results" / "space")
    assert (trial.state.name, trial.user_attrs["cause"]) == ("FAIL", "timeout")
    assert "took longer than 0.02 s (stage finetune, epoch 1" in trial.user_attrs["message"]
    assert "failed (timeout): a" in output
    assert len(attempts(folder_of(tmp_path / "results" / "space", 0))) == 2  # the second one found the note


@pytest.mark.chaos
def test_a_trial_whose_nodes_are_lost_again_and_again_within_one_epoch_is_not_given_up(
    tmp_path: Path, space: Path, cluster: Cluster
) -> None:
    options = ("--address", cluster.address, "--set", "stages.finetune.epoch_examples=20000")
    process = start_search(tmp_path, *OPTIONS, *options, space=space)
    trial = folder_of(tmp_path / "results" / "space", 0)
    for number in range(1, FRUITLESS + 2):
        wait_until(lambda n=number: len(attempts(trial)) == n, process)  # type: ignore[misc]
        cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1")
        node = node_of(cluster, attempts(trial)[-1]["process"])
        node.kill()
        node.wait()
    wait_until(lambda: len(attempts(trial)) == FRUITLESS + 2, process)
    wait_until((trial / NOW).exists, process)  # it trains
    (told,) = counted(tmp_path / "results" / "space")
    assert told.state.name == "RUNNING"
    process.terminate()
    process.communicate(timeout=_HANG)


def node_of(cluster: Cluster, worker: int) -> psutil.Process:
    """The node agent that a worker belongs to."""
    agents = {node.all_processes["raylet"][0].process.pid for node in cluster.worker_nodes}
    return next(parent for parent in psutil.Process(worker).parents() if parent.pid in agents)
