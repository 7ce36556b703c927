"""What trials train on reaches the nodes, which do not have it where the driver has it, and does so once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from minbert.bundled import CORPUS, ENCODER
from minbert.checkpoint import open_encoder
from minbert.corpora.tokenised import tokenised
from minbert.files.sealed import is_intact
from minbert.remote.object_store import open_store
from minbert.remote.sealed_copies import send_sealed
from minbert.remote.working_copy import working_copy
from minbert.sources import resolve
from tests.trainables.commands import start_search
from tests.trainables.object_stores import S3
from tests.trainables.studies import state_names
from trainables.machines.shipping import ship_encoder
from trainables.running.remote_trial import fetch_materials
from trainables.running.trainable import MaterialsChanged, _materials
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


def test_a_worker_reads_them_for_its_first_trial_and_has_them_for_all_others(tmp_path: Path) -> None:
    _materials.cache_clear()
    tasks = load_space("full_ablation").example().tasks
    sources = resolve(str(CORPUS), str(ENCODER), tasks)
    corpus = tokenised(sources.corpus, tasks, sources.encoder, tmp_path / "corpus")
    places = (None, str(corpus), str(ship_encoder(tmp_path, sources.encoder)), str(tmp_path / "stages"), 1e9)
    first = _materials(*places)
    for name in ("corpus", "encoder"):
        (tmp_path / name).rename(tmp_path / f"{name} away")
    assert _materials(*places) is first
    _materials.cache_clear()
    with pytest.raises(MaterialsChanged):
        _materials(*places)


def test_a_machine_fetches_them_from_an_object_store_for_its_first_worker_alone(
    tmp_path: Path, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    url, sent = s3.url("shipped"), []
    store, encoder = open_store(url), open_encoder(ENCODER)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        folder = ship_encoder(tmp_path / name, encoder)
        sent.append(folder.relative_to(tmp_path).as_posix())
        send_sealed(store, folder, sent[-1])

    def fetched(machine: str) -> bool:
        monkeypatch.setenv("MINBERT_CACHE", str(tmp_path / machine))
        fetch_materials(url, *sent)
        return all(is_intact(working_copy(url) / name) for name in sent)

    assert fetched("first")
    store.delete(store.names())
    assert fetched("first")
    assert not fetched("second")


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
