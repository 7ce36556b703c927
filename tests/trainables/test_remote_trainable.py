"""A trial of a study in an object store, worker by worker, each on a machine of its own: without Ray, so that it is quick."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from minbert.bundled import CORPUS, ENCODER
from minbert.canonical import run_name
from minbert.config import TrainConfig
from minbert.corpora.tokenised import tokenised
from minbert.devices import pin
from minbert.files.sealed import sealed_line
from minbert.now import NOW, Now, write_now
from minbert.sources import resolve
from minbert.time_limits import TIMEOUT, TimeLimits
from minbert.yaml_reader import load_config
from tests.trainables.object_stores import S3
from tests.trainables.studies import attempts, folder_of, history, predictions, repeat, weights
from trainables.machines.jobs import Jobs, stage_place
from trainables.running.trainable import STORAGE, TrialTrainable, _materials
from trainables.studies.ledger import Issue
from trainables.studies.remote_study import RemoteStudy, open_remote
from trainables.studies.study import StudyFolder, pinned_sources

CONFIG = """\
stages: {simcse: {epochs: 1, epoch_examples: 16}, finetune: {epochs: 2, epoch_examples: 16}}
"""


@pytest.fixture
def study(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RemoteStudy:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MINBERT_CACHE", str(tmp_path / "driver"))
    opened = open_remote(s3.url(tmp_path.name))
    assert opened is not None
    return opened


@pytest.fixture
def job(study: RemoteStudy, tmp_path: Path) -> dict[str, Any]:
    """A trial as the driver hands it out."""
    (tmp_path / "config.yaml").write_text(CONFIG)
    config = load_config(tmp_path / "config.yaml")
    sources = resolve(str(CORPUS), str(ENCODER), config.tasks)
    pinned = pin(config.model_copy(update=pinned_sources(sources)), sources.encoder.config, 1)
    study.path.mkdir(parents=True)
    corpus = tokenised(sources.corpus, config.tasks, sources.encoder, study.path / "corpus")
    study.share(corpus)
    folder = StudyFolder(study.path, {}, study)
    encoder, stages = study.share_encoder(sources.encoder), stage_place(folder, None)
    jobs = Jobs(folder, corpus, encoder, stages, 1e9, "now", TimeLimits(), None)
    return jobs.job(Issue(0, pinned, 0))


@pytest.fixture
def worker(job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Begin the trial on a machine of that name."""

    def begin(name: str) -> TrialTrainable:
        _materials.cache_clear()
        monkeypatch.setenv("MINBERT_CACHE", str(tmp_path / name))
        trainable = TrialTrainable.__new__(TrialTrainable)
        trainable.setup(job)
        return trainable

    return begin


def test_a_trial_whose_machine_is_lost_goes_on_elsewhere_with_the_same_numbers(
    s3: S3, study: RemoteStudy, worker: Any, tmp_path: Path
) -> None:
    lost = worker("lost")
    first = lost.step()
    assert (first["epoch"], first["finished"]) == (1, False), str(first)
    lost._open_things.close()  # its process is gone
    other = worker("other")
    again = other.step()
    assert (again["attempt"], again["epoch"], again["finished"]) == (2, 1, False), str(again)
    assert again["records"] == first["records"], "what was done is handed over, and nothing is done again"
    write_now(other._folder, Now("finetune", 2, "training", 0, 1, None, 0.0, 2))
    last = other.step()
    assert (last["epoch"], last["finished"], len(last["records"])) == (2, True, 1), str(last)
    folder = folder_of(s3.copy(tmp_path.name, tmp_path / "copied"), 0)
    assert not list(folder.rglob(NOW))
    alone = repeat(folder, tmp_path / "alone")
    assert history(folder) == history(alone)
    assert weights(folder) == weights(alone) != {}
    assert predictions(folder) == predictions(alone) != {}
    assert len(attempts(folder)) == 2
    other.cleanup()
    assert not list((tmp_path / "other").rglob("trials/00000"))
    assert study.has_model(0)


def test_a_store_that_refuses_is_no_failure_of_the_trial(
    study: RemoteStudy, worker: Any, job: dict[str, Any]
) -> None:
    job["url"] = job["url"].replace("studies", "no-such-bucket") + "?region=us-east-1"
    result = worker("here").step()
    assert result["cause"] == STORAGE
    assert "no-such-bucket" in result["message"]
    assert "refused (NO_SUCH_BUCKET)" in result["message"]


MOMENTS = {
    "before it is scored": "minbert.trial.Choice.evaluate",
    "before its checkpoint": "minbert.trial.TrialLog.save",
    "before its line": "minbert.trial_log.append_json",
    "before it is sent": "trainables.running.remote_trial.Mirror.publish",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_folder_that_is_taken_away_at_any_moment_of_an_epochs_end_is_no_failure_of_the_trial(
    moment: str, study: RemoteStudy, worker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainable = worker("here")
    assert trainable.step()["epoch"] == 1
    module, _, name = MOMENTS[moment].rpartition(".")
    intact = pkgutil.resolve_name(MOMENTS[moment])

    def taken_away(*arguments: Any) -> Any:
        trainable._folder.rename(tmp_path / "taken away")
        return intact(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(pkgutil.resolve_name(module), name, taken_away)
        result = trainable.step()
    assert (tmp_path / "taken away").is_dir()
    assert (result["cause"], result["epoch"]) == (STORAGE, 1), str(result)
    assert result["message"] == f"{trainable._folder}: is no longer there"
    again = worker("other").step()
    assert (again["epoch"], again["finished"]) == (1, False), "what was sent before counts"


HANGS = """\
import json, sys, time
from minbert.model import MultitaskModel
from trainables.running.trainable import TrialTrainable
MultitaskModel.states = lambda *arguments, **named: time.sleep(600)
trainable = TrialTrainable.__new__(TrialTrainable)
trainable.setup(json.loads(sys.argv[1]))
trainable.step()
"""


def test_a_trial_that_hung_fails_for_that_wherever_it_is_started_next(
    worker: Any, job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINBERT_CACHE", str(tmp_path / "hangs"))
    hanging = json.dumps({**job, "limits": {"step": 1.0, "epoch": None}})
    ended = subprocess.run(
        [sys.executable, "-c", HANGS, hanging], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 3, ended.stderr
    result = worker("other").step()
    assert (result["cause"], result["attempt"]) == ("timeout", 2), str(result)
    assert "took longer than 1 s (stage simcse, epoch 1" in result["message"]


@pytest.mark.parametrize("place", ["on the machine", "in the store"])
def test_what_ended_an_earlier_start_than_the_last_one_says_nothing_of_the_trial(
    place: str, study: RemoteStudy, worker: Any, job: dict[str, Any], tmp_path: Path
) -> None:
    run = run_name(TrainConfig.model_validate(job["config"]))
    note = sealed_line({"of": run, "attempt": 1, "message": "a step took longer than 1 s"})
    for number in (1, 2):
        study.store.write(f"trials/00000/attempts/{number:04d}", b"{}")
    here = worker("here")
    if place == "on the machine":
        here._folder.mkdir(parents=True)
        (here._folder / TIMEOUT).write_bytes(note)
    else:
        study.store.write(f"trials/00000/{TIMEOUT}", note)
    result = here.step()
    assert (result.get("cause"), result["attempt"], result["epoch"]) == (None, 3, 1), str(result)
