"""A one_factor search from its file to the study, and from its best on: real Ray, real runs on the bundled data."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from analysis.journal import read_trials
from minbert.yaml_reader import load_config
from tests.trainables.commands import start_search

CONTENT = """\
description: Pooling and the similarity head
search: {design: grid}
pooling: {choice: [mean, cls]}
tasks:
  sts:
    head:
      kind: {choice: [cosine, cross]}
      activation: {choice: [none, tanh], when: {tasks.sts.head.kind: cross}}
stages: {finetune: {epochs: 1}}
"""
OPTIONS = ("--design", "one_factor", "--replicates", "2", "--set", "fidelity=0.03")


@pytest.mark.long
def test_a_search_runs_each_level_with_each_seed_once_and_can_be_gone_on_from(tmp_path: Path) -> None:
    space = tmp_path / "tiny.yaml"
    space.write_text(CONTENT)
    study = tmp_path / "results" / "tiny-one_factor"
    first = start_search(tmp_path, *OPTIONS, space=space)
    output, errors = first.communicate(timeout=240)
    assert (first.returncode, errors) == (0, ""), output

    spec = yaml.safe_load((study / "study.yaml").read_text())
    names = [spec["baseline"], *(row["config_id"] for row in spec["comparisons"])]
    ran = [trial.user_attrs for trial in read_trials(study / "journal.log")]
    assert sorted((each["config_id"], each["replicate"]) for each in ran) == sorted(
        (name, replicate) for name in names for replicate in (0, 1)
    )
    assert len({(each["replicate"], each["seed"]) for each in ran}) == 2
    assert {load_config(path).checkpoint for path in study.glob("trials/*/config.yaml")} == {"last"}

    around = ("--around", str(study), "--set", "fidelity=0.03", "--dry-run")
    second = start_search(tmp_path, *around, space="heads")
    output, errors = second.communicate(timeout=60)
    assert (second.returncode, errors) == (0, "")
    assert f"base: the best of {study}" in output
    assert "fidelity=0.03, finetune.epochs=1" in output
    assert "study: results/heads-around-tiny-one_factor" in output
