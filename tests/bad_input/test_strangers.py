"""Links that lead elsewhere, and pipes: never followed, never waited for; exit code 2, one line that names them."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minbert import command_line
from minbert.bundled import CORPUS, ENCODER
from minbert.errors import UserError
from minbert.files.durable import exclusive
from tests.bad_input.test_bad_input import PROGRAMS, STUDY, content

PATIENCE_SECONDS = 20
SEARCH = ("search", "--space", "essentials", "--study", "given")
FORK = (*SEARCH, "--fork", "new")
TRAIN = ("train", "--config", "config.yaml", "--data", str(CORPUS), "--encoder", str(ENCODER), "--out", "run")
REPORT = ("report", "given")
Refused = Callable[..., None]


@pytest.fixture(autouse=True)
def nobody_waits_for_ever(tmp_path: Path) -> Iterator[None]:
    """Give every reader of a pipe an end of it after a while: it goes on and says something else.

    From another process, as libraries may wait without letting Python go on.
    """
    end = 'while sleep "$1"; do find "$2" -type p -exec sh -c \': <> "$1"\' - {} ";"; done'
    arguments = ["sh", "-c", end, "-", str(PATIENCE_SECONDS), str(tmp_path)]
    process = subprocess.Popen(arguments, start_new_session=True)
    yield
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Refused]:
    """Run a program in ``tmp_path``: it must refuse in one line that matches, and leave everything as it was."""

    def call(says: str, program: str, *arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", [program, *arguments])
        before = content(tmp_path)
        code = command_line.run(importlib.import_module(PROGRAMS[program]).main)
        errors = capsys.readouterr().err
        assert (code, len(errors.splitlines())) == (2, 1), errors
        assert re.search(says, errors), errors
        assert content(tmp_path) == before

    monkeypatch.chdir(tmp_path)
    for name in ("MINBERT_DATA", "MINBERT_RESULTS", "MINBERT_GPUS_PER_TRIAL", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").write_text("precious, and not ended")
    yield call


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A finished study."""
    return shutil.copytree(STUDY, tmp_path / "given")


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """What a run begins with, and the configuration of it."""
    (tmp_path / "run").mkdir()
    for folder in (tmp_path, tmp_path / "run"):
        (folder / "config.yaml").write_text("stages: {finetune: {epochs: 1}}\n")
    return tmp_path / "run"


def clear(place: Path) -> Path:
    """Make room for something else."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    return place


def link_out(place: Path, to_folder: bool = False) -> None:
    target = Path.cwd() / "elsewhere"
    clear(place).symlink_to(target if to_folder else target / "precious")


FILES_OF_A_STUDY = (
    "trials/00002/history.jsonl",
    "trials/00002/checkpoint/manifest.json",
    "stages/k/manifest.json",
)
FOLDERS_OF_A_STUDY = ("trials/00002", "trials/00002/predictions", "stages/k", "corpus/k", "report_pictures")


@pytest.mark.parametrize("name", FILES_OF_A_STUDY)
def test_a_search_goes_on_in_no_study_whose_file_lies_elsewhere(
    refused: Refused, given: Path, name: str
) -> None:
    link_out(given / name)
    refused(f"given/{name}: is a link out of the folder given, to .*elsewhere/precious; nothing", *SEARCH)


@pytest.mark.parametrize("name", FOLDERS_OF_A_STUDY)
def test_a_search_goes_on_in_no_study_whose_folder_lies_elsewhere(
    refused: Refused, given: Path, name: str
) -> None:
    link_out(given / name, to_folder=True)
    refused(f"given/{name}: is a link out of the folder given, to .*elsewhere; nothing", *SEARCH)


def test_a_link_from_one_place_of_a_study_to_another_is_no_stranger(refused: Refused, given: Path) -> None:
    (given / "trials" / "first").symlink_to("00000")
    link_out(given / "trials" / "zzz")
    refused("given/trials/zzz: is a link out", *SEARCH)


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_a_fork_copies_nothing_through_a_link_out_of_the_old_study(
    refused: Refused, given: Path, options: tuple[str, ...]
) -> None:
    link_out(given / "trials/00002/predictions", to_folder=True)
    refused("given/trials/00002/predictions: is a link out of the folder given", *FORK, *options)


@pytest.mark.parametrize("command", [SEARCH, FORK])
def test_a_lock_that_is_a_link_is_not_written_through(
    refused: Refused, given: Path, command: tuple[str, ...]
) -> None:
    link_out(given / ".lock")
    refused(r"given/\.lock: is a link, to .*elsewhere/precious; nothing there is touched", *command)


@pytest.mark.parametrize(
    "name", [".lock", "history.jsonl", "checkpoint/manifest.json", "stages/k/manifest.json"]
)
def test_a_run_goes_on_in_no_folder_whose_file_lies_elsewhere(
    refused: Refused, run_folder: Path, name: str
) -> None:
    link_out(run_folder / name)
    refused(f"run/{name}: is a link out of the folder run, to ", *TRAIN)


def test_a_run_begins_in_no_folder_whose_corpus_lies_elsewhere(refused: Refused, run_folder: Path) -> None:
    clear(run_folder / "config.yaml")
    link_out(run_folder / "corpus/k", to_folder=True)
    refused("run/corpus/k: is a link out of the folder run, to ", *TRAIN)


def test_a_trials_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("what stood there")
    (tmp_path / "link").symlink_to("other")
    with pytest.raises(UserError, match="link: is a link, to other"), exclusive(tmp_path / "link", 0):
        pass
    assert (tmp_path / "other").read_text() == "what stood there"


@pytest.mark.parametrize("name", ["report.md", "report.html", "report_pictures"])
def test_a_report_is_not_written_through_a_link(refused: Refused, given: Path, name: str) -> None:
    link_out(given / name, to_folder=name == "report_pictures")
    refused(f"given/{name}: is a link out of the folder given", *REPORT)


@pytest.mark.parametrize("name", [".lock", "study.yaml", "journal.log", "trials/00002/history.jsonl"])
def test_a_search_does_not_wait_for_a_pipe(refused: Refused, given: Path, name: str) -> None:
    os.mkfifo(clear(given / name))
    refused(f"given/{name}: is a named pipe, not a file", *SEARCH)


@pytest.mark.parametrize(
    "name",
    [
        "study.yaml",
        "journal.log",
        *(f"trials/00002/{name}" for name in ("history.jsonl", "config.yaml")),
        *(f"trials/00002/predictions/{name}" for name in ("sst.parquet", "checksums.json")),
    ],
)
def test_a_report_does_not_wait_for_a_pipe(refused: Refused, given: Path, name: str) -> None:
    os.mkfifo(clear(given / name))
    refused(f"given/{name}: is a named pipe, not a file", *REPORT)


def test_a_report_does_not_wait_behind_a_link(refused: Refused, given: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "elsewhere" / "pipe")
    clear(given / "journal.log").symlink_to(tmp_path / "elsewhere" / "pipe")
    refused("given/journal.log: is a named pipe", *REPORT)


def test_a_run_does_not_wait_for_a_pipe(refused: Refused, run_folder: Path) -> None:
    os.mkfifo(clear(run_folder / "checkpoint" / "manifest.json"))
    refused(r"run/checkpoint/manifest\.json: is a named pipe", *TRAIN)


def test_a_space_and_a_configuration_are_files(refused: Refused, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "space.yaml")
    os.mkfifo(tmp_path / "config.yaml")
    refused(r"space\.yaml: is a named pipe", "search", "--space", "./space.yaml")
    refused(r"config\.yaml: is a named pipe", *TRAIN)
    refused("/dev/zero: is a device", "train", "--config", "/dev/zero", "--out", "run")


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "tokenizer.json", "vocab.txt", "tokenizer_config.json"]
)
def test_an_encoder_is_made_of_files(refused: Refused, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(ENCODER, tmp_path / "encoder")
    os.mkfifo(clear(folder / name))
    refused(f"encoder/{name}: is a named pipe", "search", "--space", "essentials", "--encoder", "./encoder")


def test_the_model_of_a_run_is_made_of_files(refused: Refused, tmp_path: Path) -> None:
    best = tmp_path / "old" / "best"
    shutil.copytree(ENCODER, best / "encoder")
    (best / "checksums.json").write_text('{"files": {"heads.safetensors": "0"}}')
    os.mkfifo(best / "heads.safetensors")
    refused("heads.safetensors is no file", "search", "--space", "essentials", "--encoder", "./old")


@pytest.mark.parametrize("name", ["ids-sst-train.csv", "sentences.txt"])
def test_data_is_made_of_files(refused: Refused, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(CORPUS, tmp_path / "data")
    os.mkfifo(clear(folder / name))
    (tmp_path / "config.yaml").write_text(
        f"stages: {{simcse: {{epochs: 1, text: {name}}}}}\n" if name == "sentences.txt" else "{}\n"
    )
    refused(name, "train", "--config", "config.yaml", "--data", "data", "--out", "run")


def test_a_fork_below_a_file_is_answered_as_a_fork(refused: Refused, given: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused("error: --fork file/new: file is not a folder", *SEARCH, "--fork", "file/new")


@pytest.mark.parametrize("name", ["../../evil", "back\\\\slash", "a\\tb", ""])
def test_a_stages_name_is_no_path(refused: Refused, tmp_path: Path, name: str) -> None:
    (tmp_path / "config.yaml").write_text(
        f'recipe: [finetune]\nstages: {{finetune: {{epochs: 1}}, "{name}": {{kind: multitask, epochs: 1}}}}\n'
    )
    refused("cannot be a stage's name", *TRAIN)


@pytest.mark.parametrize("name", ["../../../../tmp/evil", "a\\eb"])
def test_a_runs_name_is_no_path(refused: Refused, tmp_path: Path, name: str) -> None:
    (tmp_path / "space.yaml").write_text(f'search: {{design: listed}}\nruns: {{"{name}": {{}}}}\n')
    refused("cannot be a run's name", "search", "--space", "./space.yaml", "--dry-run")
