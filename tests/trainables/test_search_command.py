"""The main job from end to end: real Ray, real trials on the bundled data, a killed driver."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from minbert.yaml_reader import load_config
from tests.trainables.commands import SMALL, start_search
from tests.trainables.studies import counted, wait_until

TRIALS = 5
WHOLE = [*SMALL, "--set", "search.early_stopping=null", "--set", "stages.simcse.epochs=1"]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, Any], str]:
    """A study whose driver was killed in mid-search and started again: folder, trials finished before, output."""
    folder = tmp_path_factory.mktemp("killed")
    study = folder / "results" / "small_ablation"
    arguments = [*WHOLE, "--trials", str(TRIALS)]

    def one_finished_one_under_way() -> bool:
        if not (study / "journal.log").is_file():
            return False
        states = [trial.state.name for trial in counted(study)]
        return "COMPLETE" in states and "RUNNING" in states

    process = start_search(folder, *arguments)
    wait_until(one_finished_one_under_way, process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = {trial.number: trial for trial in counted(study) if trial.state.is_finished()}
    again = start_search(folder, *arguments)
    output, errors = again.communicate(timeout=240)
    assert again.returncode == 0, errors
    assert errors == ""
    return study, before, output


Killed = tuple[Path, dict[int, Any], str]


def test_after_a_killed_driver_finished_trials_stay_and_none_is_doubled_or_left(killed: Killed) -> None:
    study, before, _ = killed
    after = {trial.number: trial for trial in counted(study)}
    assert before
    assert all(after[number] == trial for number, trial in before.items())
    assert len(after) == TRIALS
    assert {trial.state.name for trial in after.values()} == {"COMPLETE"}


def test_every_trial_has_its_files_and_each_epoch_once(killed: Killed) -> None:
    study, _, _ = killed
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
    study, _, _ = killed
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
    study, _, output = killed
    effects = "too few trials to say anything about effects"
    for text in ("bundled", "Top configurations", effects, "Ensemble", "report.html"):
        assert text in output
    assert (study / "report.html").is_file()
    assert (study / "report.md").is_file()


def test_the_same_command_again_runs_nothing_and_names_what_was_damaged_meanwhile(killed: Killed) -> None:
    study, _, _ = killed
    before = (study / "journal.log").read_bytes()
    config = study / "trials" / "00000" / "config.yaml"
    whole = config.read_bytes()
    config.write_bytes(whole[:-20])
    arguments = [*WHOLE, "--trials", str(TRIALS), "--continue"]
    process = start_search(study.parent.parent, *arguments)
    output, errors = process.communicate(timeout=120)
    config.write_bytes(whole)
    assert process.returncode == 0
    assert re.fullmatch(
        r"warning: \S+/trials/00000/config\.yaml: is not what was written \(its checksum differs\); bring it back .*\n",
        errors,
    )
    assert (study / "journal.log").read_bytes() == before
    assert "started" not in output


def test_one_trial_repeats_outside_the_search(killed: Killed, tmp_path: Path) -> None:
    import subprocess  # noqa: PLC0415
    import sys  # noqa: PLC0415

    study, _, _ = killed
    folder = study / "trials" / f"{counted(study)[1].number:05d}"
    command = [
        sys.executable,
        "-m",
        "minbert.train",
        "--config",
        str(folder / "config.yaml"),
        "--out",
        str(tmp_path),
    ]
    subprocess.run(command, check=True, capture_output=True)

    def scores(path: Path) -> list[Any]:
        return [json.loads(line).get("dev") for line in (path / "history.jsonl").read_text().splitlines()]

    assert [s for s in scores(tmp_path) if s] == [s for s in scores(folder) if s]


def test_study_yaml_pins_what_was_resolved(killed: Killed) -> None:
    study, _, _ = killed
    spec = yaml.safe_load((study / "study.yaml").read_text())
    assert spec["device"] == "cpu"
    assert spec["precision"] in ("fp32", "bf16")
    assert spec["threads"] == 1
    assert spec["data"]["bundled"] is True
