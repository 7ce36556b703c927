"""Trials of a search share what they have in common, and end as each of them would alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.study_cost import costs
from minbert.files.durable import read_json_lines
from tests.trainables.commands import start_search
from tests.trainables.killing import OPTIONS
from tests.trainables.studies import folder_of, history, predictions, repeat, weights

SPACE = """\
description: Runs with a common beginning, two at a time.
search: {design: listed}
stages:
  simcse: {epochs: 2, epoch_examples: 160, batch_size: 16}
  finetune: {epochs: 1, epoch_examples: 96}
runs:
  first: {}
  other rate: {set: {stages.finetune.learning_rate: 1e-3}}
  longer: {set: {stages.simcse.epochs: 3}}
  shorter: {set: {stages.simcse.epochs: 1}}
"""


@pytest.mark.long
def test_no_stage_is_trained_twice_and_every_trial_is_as_it_would_be_alone(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(SPACE)
    process = start_search(tmp_path, *OPTIONS, "--keep", "all", space=tmp_path / "space.yaml")
    output, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (0, ""), output
    study = tmp_path / "results" / "space"
    found = costs([study])
    assert found.trials == 4
    assert found.unique <= found.paid < found.alone
    trained = [
        record["epoch"]
        for number in range(4)
        for record in read_json_lines(folder_of(study, number) / "history.jsonl")
        if record["stage"] == "simcse" and not record.get("shared")
    ]
    assert sorted(trained) == [1, 2, 3]
    for number in range(4):
        trial = folder_of(study, number)
        alone = repeat(trial, tmp_path / f"alone-{number}")
        assert history(trial)[-1] == history(alone)[-1]
        assert weights(trial) == weights(alone) != {}
        assert predictions(trial) == predictions(alone) != {}
