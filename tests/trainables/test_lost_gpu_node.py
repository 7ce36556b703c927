"""Trials that share GPUs, and a node that dies under two of them: real nodes of a real Ray, whose GPUs are only counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from tests.trainables.commands import start_search
from tests.trainables.studies import (
    attempts,
    folder_of,
    history,
    predictions,
    repeat,
    state_names,
    wait_until,
    weights,
)
from tests.trainables.test_lost_workers import node_of, two_epochs_done

SPACE = """\
description: Three trials on two GPUs, one of which is lost
search: {design: listed}
runs:
  mean: {}
  cls: {set: {pooling: cls}}
  pooler: {set: {pooling: pooler}}
stages: {finetune: {epochs: 8, epoch_examples: 200}}
"""
_HANG = 400


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head that runs no trials, and two nodes with a GPU each."""
    common = {"node_ip_address": "127.0.0.1", "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **common})
    for _ in range(2):
        cluster.add_node(num_cpus=4, num_gpus=1, **common)
    yield cluster
    cluster.shutdown()


def test_two_trials_share_a_gpu_and_when_its_node_dies_both_go_on_on_the_other_one_to_the_same_end(
    tmp_path: Path, cluster: Cluster
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(SPACE)
    options = ("--address", cluster.address, "--gpus-per-trial", "0.5", "--cpus-per-trial", "1")
    numerics = ("--set", "device=cpu", "--set", "precision=fp32")
    process = start_search(tmp_path, *options, *numerics, space=space)
    study = tmp_path / "results" / "space"
    trials = [folder_of(study, number) for number in range(3)]
    wait_until(lambda: all(map(two_epochs_done, trials)), process, _HANG)
    workers = {trial: attempts(trial)[0]["process"] for trial in trials}
    assert len(set(workers.values())) == 3
    nodes = {trial: node_of(cluster, worker) for trial, worker in workers.items()}
    shared = max(nodes.values(), key=list(nodes.values()).count)
    lost = [trial for trial in trials if nodes[trial] == shared]
    assert len(lost) == 2  # a half of a GPU each, and no third one
    shared.kill()
    shared.wait()
    output, errors = process.communicate(timeout=_HANG)
    assert (process.returncode, errors) == (0, ""), output
    assert state_names(study) == ["COMPLETE"] * 3
    assert [len(attempts(trial)) for trial in trials] == [1 + (trial in lost) for trial in trials]
    for trial in lost:
        assert attempts(trial)[1]["epochs"] >= 2  # gone on from a checkpoint, not begun again
        alone = repeat(trial, tmp_path / f"{trial.name} alone")
        assert history(trial) == history(alone)
        assert weights(trial) == weights(alone) != {}
        assert predictions(trial) == predictions(alone) != {}
