"""A listed space from its file to the table beside the reported numbers: real Ray, real runs on the bundled data."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from minbert.yaml_reader import load_config
from tests.trainables.commands import start_search

LISTED = """\
description: Three rows of a table
paper: {name: "999", title: A small paper, average: plain, setting: {gpu: T4}}
search: {design: listed}
selection: dev
stages: {finetune: {epochs: 1.5}}
runs:
  plain: {reported: {sst: .5, qqp: .85, sts: -.009, plain: .447, train: {sst: .9}}}
  stages:
    set:
      recipe: [simcse, supervised, finetune]
      stages: {simcse: {epochs: 1, text: sentences}, supervised: {epochs: 1}}
    interpretation: Sentences of our own stand for the paper's.
  again: {same_as: stages, note: "The table has this row twice, the text has .6 for it."}
  best: {members: {sst: plain, qqp: stages, sts: again}, reported: {plain: .6}}
"""


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "table.yaml"
    path.write_text(LISTED)
    return path


def test_a_dry_run_shows_every_row_its_reported_numbers_and_readings(tmp_path: Path, space: Path) -> None:
    process = start_search(tmp_path, "--dry-run", "--set", "stages.finetune.epochs=2", space=space)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    lines = output.splitlines()
    rows = {line.split()[0]: line.split() for line in lines if len(line.split()) > 4}
    assert rows["run"][-4:] == ["sst", "qqp", "sts", "plain"]
    assert rows["plain"][-4:] == ["0.500", "0.850", "-0.009", "0.447"]
    for text in (
        "paper 999: A small paper",
        "recipe=[simcse, supervised, finetune]",
        "simcse.text=sentences",
        "same as stages",
        "scores of plain (sst)",
        "reported on train: sst 0.900",
        "interpretation: Sentences of our own",
        "note: The table has this row twice, the text has .6",
        "trials: 2, replicates of a configuration: 1, design: listed, early stopping: off",
    ):
        assert text in output
    assert [path.name for path in tmp_path.iterdir()] == ["table.yaml"]


@pytest.mark.long
def test_a_listed_search_trains_each_configuration_once_and_ends_with_the_table(
    tmp_path: Path, space: Path
) -> None:
    process = start_search(tmp_path, "--set", "fidelity=0.05", space=space)
    output, errors = process.communicate(timeout=240)
    assert (process.returncode, errors) == (0, ""), output
    study = tmp_path / "results" / "table"
    assert len(list((study / "trials").iterdir())) == 2
    assert (
        "trial 1 (stages) complete; 2 of 2 trials done" in output
        or "trial 0 (plain) complete; 2 of" in output
    )
    table = output[output.index("Runs, as paper 999 reports them") :]
    for name in ("plain", "stages", "again", "best"):
        assert any(line.startswith(name + " ") for line in table.splitlines())
    spec = yaml.safe_load((study / "study.yaml").read_text())
    assert spec["trials"] == 2
    assert {name: run.get("trained_as") for name, run in spec["runs"].items()} == {
        "plain": "plain",
        "stages": "stages",
        "again": "stages",
        "best": None,
    }
    assert set(spec["data"]["texts"]) == {"sentences", "triplets"}
    configs = [load_config(path) for path in study.glob("trials/*/config.yaml")]
    assert all(config.fidelity == 0.05 for config in configs)
    assert all(config.data.texts == spec["data"]["texts"] for config in configs)
