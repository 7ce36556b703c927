"""The main job from end to end: real Ray, real trials on the bundled data, a killed driver."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import yaml
from optuna.trial import FrozenTrial

from minbert.yaml_reader import load_config
from tests.made_once import made_once
from tests.trainables.commands import SMALL, SPACE, start_search
from tests.trainables.killing import Mortal
from tests.trainables.studies import attempts, counted, folder_of, history, predictions, repeat, weights

TRIALS = 5
WHOLE = [*SMALL, "--set", "search.early_stopping=null", "--set", "stages.simcse.epochs=1"]
STUDY = Path("results", "small_ablation")


@dataclass(frozen=True)
class Killed:
    """A study of which a worker and then the driver were killed, and that was started again.

    Attributes:
        folder: of the study.
        before: its trials that were finished before that, by number.
        output: of the last start.
    """

    folder: Path
    before: dict[int, FrozenTrial]
    output: str


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    def make(folder: Path) -> None:
        search = Mortal(folder, SPACE, [*WHOLE, "--trials", str(TRIALS)])
        search.die_at("checkpoint.placed", "ledger.after_tell")
        shutil.copytree(folder / STUDY, folder / "before")
        (folder / "output").write_text(search.run())

    folder = made_once(tmp_path_factory, "killed", make)
    before = {trial.number: trial for trial in counted(folder / "before") if trial.state.is_finished()}
    return Killed(folder / STUDY, before, (folder / "output").read_text())


def test_after_a_killed_driver_finished_trials_stay_and_none_is_doubled_or_left(killed: Killed) -> None:
    after = {trial.number: trial for trial in counted(killed.folder)}
    assert len(killed.before) == 1
    assert all(after[number] == trial for number, trial in killed.before.items())
    assert len(after) == TRIALS
    assert {trial.state.name for trial in after.values()} == {"COMPLETE"}


def test_every_trial_has_its_files_and_each_epoch_once(killed: Killed) -> None:
    study = killed.folder
    for trial in counted(
        study
    ):  # a number that was given to a trial killed while being asked for is left out
        folder = study / "trials" / f"{trial.number:05d}"
        lines = (folder / "history.jsonl").read_text().splitlines()
        epochs = [(record["stage"], record["epoch"]) for record in map(json.loads, lines)]
        assert len(set(epochs)) == len(epochs)
        assert [epoch for stage, epoch in epochs if stage == "finetune"] == [1, 2]
        assert load_config(folder / "config.yaml").device == "cpu"
        frame = pd.read_parquet(folder / "predictions" / "sst.parquet")
        assert set(frame["split"]) == {"dev", "test"}
        assert not (folder / "checkpoint").exists()


def test_trials_share_the_contrastive_stage(killed: Killed) -> None:
    study = killed.folder
    histories = [
        [json.loads(line) for line in path.read_text().splitlines()]
        for path in study.glob("trials/*/history.jsonl")
    ]
    contrastive = [[record for record in history if record["stage"] == "simcse"] for history in histories]
    assert all(len(records) == 1 for records in contrastive)
    assert any(record.get("shared") for records in contrastive for record in records)
    poolings = {load_config(path).pooling for path in study.glob("trials/*/config.yaml")}
    assert len(list((study / "stages").iterdir())) == len(poolings)


def test_the_end_shows_leaders_effects_ensemble_and_files(killed: Killed) -> None:
    study, output = killed.folder, killed.output
    effects = "too few trials to say anything about effects"
    for text in ("bundled", "Top configurations", effects, "Ensemble", "report.html"):
        assert text in output
    assert (study / "report.html").is_file()
    assert (study / "report.md").is_file()


def test_the_same_command_again_runs_nothing_and_names_what_was_damaged_meanwhile(
    killed: Killed, tmp_path: Path
) -> None:
    study = tmp_path / STUDY
    shutil.copytree(killed.folder, study)
    before = (study / "journal.log").read_bytes()
    config = study / "trials" / "00000" / "config.yaml"
    config.write_bytes(config.read_bytes()[:-20])
    arguments = [*WHOLE, "--trials", str(TRIALS), "--continue"]
    process = start_search(tmp_path, *arguments)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0
    assert re.fullmatch(
        r"warning: \S+/trials/00000/config\.yaml: is not what was written \(its checksum differs\); bring it back .*\n",
        errors,
    )
    assert (study / "journal.log").read_bytes() == before
    assert "started" not in output


def test_a_trial_whose_worker_was_killed_repeats_outside_the_search(killed: Killed, tmp_path: Path) -> None:
    study = killed.folder
    folders = {trial.number: folder_of(study, trial.number) for trial in counted(study)}
    assert {number: len(attempts(folder)) for number, folder in folders.items()} == {
        trial.number: trial.user_attrs["attempts"] for trial in counted(study)
    }
    folder = max(folders.values(), key=lambda folder: len(attempts(folder)))
    assert len(attempts(folder)) >= 2
    alone = repeat(folder, tmp_path / "alone")
    assert history(folder) == history(alone)
    assert weights(folder) == weights(alone) != {}
    assert predictions(folder) == predictions(alone) != {}


def test_study_yaml_pins_what_was_resolved(killed: Killed) -> None:
    study = killed.folder
    spec = yaml.safe_load((study / "study.yaml").read_text())
    assert spec["device"] == "cpu"
    assert spec["precision"] in ("fp32", "bf16")
    assert spec["threads"] == 1
    assert spec["data"]["bundled"] is True
