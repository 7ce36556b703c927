"""A search on a cluster that has no node for trials yet, and gets some."""

from __future__ import annotations

from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from tests.trainables.commands import start_search
from tests.trainables.studies import attempts, folder_of, state_names, wait_until

SPACE = """\
description: Two trials that share a GPU
search: {design: listed}
runs: {mean: {}, cls: {set: {pooling: cls}}}
stages: {finetune: {epochs: 3, epoch_examples: 200}}
"""
LAUNCHER = """\
max_workers: 1
head_node_type: head
available_node_types:
  head: {resources: {CPU: 0}, max_workers: 0}
  worker: {resources: {CPU: 4, GPU: 1}, max_workers: 1}
"""
_HANG = 180


def test_trials_start_when_a_node_joins_and_share_its_gpu(
    tmp_path: Path, empty_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "ray_bootstrap_config.yaml").write_text(LAUNCHER)
    (tmp_path / "space.yaml").write_text(SPACE)
    options = ("--address", empty_cluster.address, "--gpus-per-trial", "0.5", "--set", "device=cpu")
    process = start_search(tmp_path, *options, space=tmp_path / "space.yaml")
    study = tmp_path / "results" / "space"
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(4)]
    waiting = "no node is there for a trial yet; up to 2 trials may run at once\n"
    assert said[-1] == waiting, (said, process.communicate(timeout=_HANG))
    empty_cluster.add_node(num_cpus=4, num_gpus=1, node_ip_address="127.0.0.1")
    trials = [folder_of(study, number) for number in range(2)]
    wait_until(lambda: all(attempts(trial) for trial in trials), process)
    assert "COMPLETE" not in state_names(study)
    output, errors = process.communicate(timeout=_HANG)
    assert (process.returncode, errors) == (0, ""), output
    assert state_names(study) == ["COMPLETE", "COMPLETE"]
    assert len({attempts(trial)[0]["process"] for trial in trials}) == 2
