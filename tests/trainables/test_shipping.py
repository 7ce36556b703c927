"""Nodes that do not have the encoder where the driver has it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from minbert.bundled import CORPUS, ENCODER
from minbert.checkpoint import open_encoder
from minbert.sources import resolve
from tests.trainables.commands import start_search
from tests.trainables.studies import state_names
from trainables.machines.shipping import ship_encoder
from trainables.spaces.space import load_space
from trainables.studies.study import make_folder
from trainables.studies.study_description import described_plan, described_study

SPACE = """\
description: Trials on nodes without the encoder
search: {design: listed}
runs: {mean: {}, cls: {set: {pooling: cls}}}
stages: {finetune: {epochs: 1, epoch_examples: 48}}
"""
LAUNCHER = """\
max_workers: 1
head_node_type: head
available_node_types:
  head: {resources: {CPU: 0}, max_workers: 0}
  worker: {resources: {CPU: 1}, max_workers: 1}
"""
_HANG = 400


def test_the_studys_copy_of_the_encoder_is_the_encoder(tmp_path: Path) -> None:
    original = open_encoder(ENCODER)
    shipped = open_encoder(ship_encoder(tmp_path, original))
    assert shipped.fingerprint == original.fingerprint
    assert shipped.folder.is_relative_to(tmp_path)


def test_it_is_made_once_and_again_only_where_it_is_damaged(tmp_path: Path) -> None:
    original = open_encoder(ENCODER)
    weights = ship_encoder(tmp_path, original) / "model.safetensors"
    made = weights.stat().st_ino
    ship_encoder(tmp_path, original)
    assert weights.stat().st_ino == made
    weights.write_bytes(weights.read_bytes()[:-1])
    assert open_encoder(ship_encoder(tmp_path, original)).fingerprint == original.fingerprint


@pytest.mark.chaos
def test_trials_run_on_a_node_where_the_path_of_the_encoder_does_not_exist(
    tmp_path: Path, empty_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "ray_bootstrap_config.yaml").write_text(LAUNCHER)
    encoder = shutil.copytree(ENCODER, tmp_path / "encoder")
    (tmp_path / "space.yaml").write_text(SPACE)
    space = load_space(str(tmp_path / "space.yaml"))
    sources = resolve(str(CORPUS), str(encoder), space.example().tasks)
    pinned = {"device": "cpu", "precision": "fp32", "threads": 1}  # begun earlier, so that no node is asked
    spec = {**described_study(space, sources, 0, ""), **pinned, **described_plan(space, pinned)}
    study = tmp_path / "results" / "space"
    make_folder(study, spec)
    sources_named = ("--data", str(CORPUS), "--encoder", str(encoder))
    process = start_search(
        tmp_path,
        "--address",
        empty_cluster.address,
        "--max-concurrent",
        "1",
        *sources_named,
        space=space.source,
    )
    assert process.stdout is not None
    while (line := process.stdout.readline()) and "trial 0 (mean) started" not in line:
        pass
    encoder.rename(tmp_path / "away")
    empty_cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1")
    output, errors = process.communicate(timeout=_HANG)
    assert (process.returncode, errors) == (0, ""), output
    assert state_names(study) == ["COMPLETE", "COMPLETE"]
