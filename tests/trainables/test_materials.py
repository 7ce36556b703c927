"""What a study was begun with and is another thing now: no trial is trained on it, and none is called failed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from minbert.bundled import CORPUS, ENCODER
from minbert.corpora.tokenised import tokenised
from minbert.devices import pin
from minbert.sources import resolve
from minbert.yaml_reader import load_config
from tests.trainables.permissions import held_to_permissions
from trainables.machines.elsewhere import UNUSABLE
from trainables.machines.seen_folders import UNSHARED, refuse_unseen
from trainables.running import trainable
from trainables.running.trainable import STORAGE, TrialTrainable, _materials
from trainables.studies.study import pinned_sources


@pytest.fixture
def job(tmp_path: Path) -> dict[str, Any]:
    """A trial as the driver hands it out, of an encoder that can be changed."""
    _materials.cache_clear()
    (tmp_path / "trials").mkdir()
    (tmp_path / "config.yaml").write_text("stages: {finetune: {epochs: 1, epoch_examples: 32}}\n")
    config = load_config(tmp_path / "config.yaml")
    encoder = shutil.copytree(ENCODER, tmp_path / "encoder")
    sources = resolve(str(CORPUS), str(encoder), config.tasks)
    pinned = pin(config.model_copy(update=pinned_sources(sources)), sources.encoder.config, 1)
    return {
        "config": pinned.model_dump(mode="json"),
        "folder": str(tmp_path / "trials" / "00000"),
        "corpus": str(tokenised(sources.corpus, config.tasks, sources.encoder, tmp_path / "corpus")),
        "encoder": str(encoder),
        "stages": str(tmp_path / "stages"),
        "stage_room": 1e9,
        "url": None,
        "start": "start",
        "limits": {"step": None, "epoch": None},
        "checkpoint_every": None,
        "ending": str(tmp_path / "ending"),
    }


def result(job: dict[str, Any]) -> tuple[Any, str]:
    """What the first step of a trial comes to: its cause, and its message."""
    trial = TrialTrainable.__new__(TrialTrainable)
    trial.setup(job)
    told = trial.step()
    trial.cleanup()
    return told.get("cause"), str(told.get("message"))


def test_what_is_as_it_was_is_trained_on(job: dict[str, Any]) -> None:
    assert result(job) == (None, "None")


def test_another_encoder_is_not_trained_on(job: dict[str, Any]) -> None:
    weights = Path(job["encoder"]) / "model.safetensors"
    save_file({name: tensor / 2 for name, tensor in load_file(weights).items()}, weights)
    cause, message = result(job)
    assert (cause, "another encoder than the study's lies there now" in message) == (STORAGE, True)


def test_a_changed_corpus_is_not_trained_on(job: dict[str, Any]) -> None:
    labels = next(Path(job["corpus"]).glob("*labels.npy"))
    content = bytearray(labels.read_bytes())
    content[-1] ^= 1
    labels.write_bytes(content)
    cause, message = result(job)
    assert (cause, "the tokenised corpus was changed" in message) == (STORAGE, True)


def test_a_trial_whose_folder_may_not_be_written_is_no_failed_one(job: dict[str, Any]) -> None:
    folder = Path(job["folder"])
    (folder / "attempts").mkdir(parents=True)
    folder.chmod(0o500)
    with held_to_permissions():
        cause, message = result(job)
    assert cause == STORAGE
    assert message.startswith(f"{folder}/") and message.endswith(": Permission denied")


def test_a_node_whose_program_cannot_even_begin_a_trial_fails_none(job: dict[str, Any]) -> None:
    job["config"] = {**job["config"], "a leaf of a later version": 1}
    cause, message = result(job)
    assert cause == UNUSABLE
    assert "a leaf of a later version" in message and "\n" not in message
    assert not Path(job["folder"]).exists()


def test_what_is_wrong_with_a_trials_own_folder_is_no_fault_of_the_node(job: dict[str, Any]) -> None:
    Path(job["folder"]).mkdir()
    (Path(job["folder"]) / "attempts").write_text("a file in the place of a folder")
    assert result(job)[0] == "exception"


def test_a_node_that_has_another_folder_there_runs_no_trial_and_says_so(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "seen").touch()
    job["seen"] = (("--study", str(tmp_path / "seen")),)
    assert result(job) == (None, "None")
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setattr(trainable, "refuse_unseen", lambda tokens: refuse_unseen(tokens, seconds=0))
    job["seen"] = (("--study", str(tmp_path / "seen")), ("--stages", str(own / "seen")))
    cause, message = result(job)
    assert cause == UNSHARED
    assert re.fullmatch(
        rf"--stages {own} is not the same folder on [\d.]+ as where the search runs, or does not answer there",
        message,
    )
