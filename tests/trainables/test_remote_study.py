"""Studies in an object store, on a real server of S3 on loopback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from analysis import report
from minbert.errors import UserError
from minbert.remote.journal_segments import Segments
from minbert.remote.object_store import ObjectStore, open_store
from minbert.remote.store_failures import Unreached
from minbert.remote.working_copy import working_copy
from tests.trainables.commands import CommandLine, start_search
from tests.trainables.object_stores import BUCKET, S3
from tests.trainables.studies import (
    attempts,
    folder_of,
    history,
    predictions,
    repeat,
    state_names,
    wait_until,
    wait_until_all_end,
    weights,
)
from trainables.running.remote_trial import RemoteTrial
from trainables.studies import remote_lease
from trainables.studies.kept_models import KeptModels
from trainables.studies.remote_lease import leased
from trainables.studies.remote_study import RemoteStudy, open_remote
from trainables.studies.study import StudyFolder

SPACE = """\
description: Two trials in an object store
search: {design: listed}
runs: {mean: {}, cls: {set: {pooling: cls}}}
stages: {simcse: {epochs: 1, epoch_examples: 32}, finetune: {epochs: 2, epoch_examples: 32}}
"""
OPTIONS = ("--set", "device=cpu", "--set", "precision=fp32", "--max-concurrent", "1")
HANG = 500


@pytest.fixture
def machine(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for copies of a machine that knows the store."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return path


def move_to_another_machine(machine: Path) -> None:
    """Nothing of what this machine had is left; other processes of it are none any more."""
    shutil.rmtree(machine, ignore_errors=True)


def published(store: ObjectStore, number: int) -> bool:
    """Whether a trial has kept something; the server has better things to do than to be asked all the time."""
    time.sleep(0.5)
    return bool(store.names(f"trials/{number:05d}/published"))


def test_a_study_goes_on_on_another_machine_as_if_nothing_had_been(
    s3: S3, machine: Path, space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = s3.url("goes_on")
    store = open_store(url)

    def search() -> subprocess.Popen[str]:
        return start_search(tmp_path, *OPTIONS, "--study", url, space=space)

    process = search()
    wait_until(lambda: published(store, 0), process, HANG)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    wait_until_all_end(tmp_path)
    move_to_another_machine(machine)

    process = search()
    output, errors = process.communicate(timeout=HANG)
    assert (process.returncode, errors) == (0, ""), output
    assert f"trials, predictions and kept models: {url}/trials" in output
    wait_until_all_end(tmp_path)

    study = s3.copy("goes_on", tmp_path / "copied")
    assert state_names(study) == ["COMPLETE", "COMPLETE"]
    assert len(attempts(folder_of(study, 0))) == 2
    assert (study / "report.html").is_file()
    assert not list(study.glob("trials/*/checkpoint")), "checkpoints of finished trials are of no use"
    for number in range(2):
        folder = folder_of(study, number)
        alone = repeat(folder, tmp_path / f"alone{number}")
        assert history(folder) == history(alone)
        assert weights(folder) == weights(alone) != {}
        assert predictions(folder) == predictions(alone) != {}
    assert not list(working_copy(url).glob("trials/*/best")), "the store has it"

    move_to_another_machine(machine)
    assert report.main([url]) == 0
    assert "report.html" in capsys.readouterr().out
    assert not list(machine.rglob("*.safetensors")), "a report needs no models"


@pytest.mark.chaos
def test_a_store_that_is_away_for_a_while_is_waited_for(
    s3: S3, machine: Path, space: Path, tmp_path: Path
) -> None:
    url = s3.url("away")
    store = open_store(url)
    process = start_search(tmp_path, *OPTIONS, "--study", url, space=space)
    wait_until(lambda: published(store, 0), process, HANG)
    assert s3.process is not None
    os.kill(s3.process.pid, signal.SIGSTOP)
    time.sleep(15)
    os.kill(s3.process.pid, signal.SIGCONT)
    output, errors = process.communicate(timeout=HANG)
    assert (process.returncode, errors) == (0, ""), output
    assert state_names(s3.copy("away", tmp_path / "copied")) == ["COMPLETE", "COMPLETE"]


@pytest.fixture
def store(s3: S3, machine: Path, request: pytest.FixtureRequest) -> ObjectStore:
    return open_store(s3.url(f"tests/{request.node.name}"), patience=0)


def sign(store: ObjectStore, **changes: object) -> None:
    """Let another driver give a sign of life."""
    said = {"host": "elsewhere", "process": 17, "machine": "another", **changes}
    store.write("drivers/other", json.dumps(said).encode())


def test_a_second_driver_is_refused_with_host_and_process(store: ObjectStore) -> None:
    sign(store)
    with (
        pytest.raises(
            UserError, match=r"in use by another search \(host elsewhere, process 17; its last sign \d+ s"
        ),
        leased(store),
    ):
        pass
    assert set(store.names("drivers")) == {"drivers/other"}


def test_a_driver_that_gives_no_sign_any_more_is_replaced(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_lease, "STALE_SECONDS", 0.0)
    sign(store)
    with leased(store):
        assert len(store.names("drivers")) == 1
    assert store.names("drivers") == {}


def test_a_driver_of_this_machine_that_died_is_replaced_at_once(store: ObjectStore) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    sign(store, machine=remote_lease._machine(), process=ended.pid)
    with leased(store):
        pass
    sign(store, machine=remote_lease._machine(), process=os.getpid())
    with pytest.raises(UserError, match="in use"), leased(store):
        pass


def test_a_driver_gives_signs_of_life(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_lease, "SECONDS_BETWEEN_SIGNS", 0.05)
    with leased(store):
        ((name, first),) = store.names("drivers").items()
        deadline = time.monotonic() + 60
        while store.names("drivers")[name].changed == first.changed:
            assert time.monotonic() < deadline
            time.sleep(0.2)


GHOST = """\
import sys
from trainables.running.remote_trial import RemoteTrial
trial = RemoteTrial(sys.argv[1], "trials/00000")
trial.claim("first")
(trial.folder / "history.jsonl").write_text("of the ghost")
print("claimed", flush=True)
sys.stdin.readline()
trial.publish()
print("written", flush=True)
"""


def test_a_worker_that_was_given_up_writes_nothing_more(
    store: ObjectStore, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ghost = subprocess.Popen(
        [sys.executable, "-c", GHOST, store.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert ghost.stdout is not None
    assert ghost.stdout.readline() == "claimed\n"
    monkeypatch.setenv("XDG_CACHE_HOME", str(machine) + "-of-another-machine")
    successor = RemoteTrial(store.url, "trials/00000")
    assert successor.claim("first").number == 2
    (successor.folder / "history.jsonl").write_text("of the successor")
    successor.publish()
    output, _ = ghost.communicate("go on\n", timeout=HANG)
    assert (ghost.returncode, output) == (1, "")
    assert store.read("trials/00000/history.jsonl") == b"of the successor"
    successor.publish()


def test_of_two_starts_with_the_same_number_one_goes_on(store: ObjectStore, machine: Path) -> None:
    first = RemoteTrial(store.url, "trials/00000")
    first.claim("start")
    store.write("trials/00000/attempts/0001", b"of another machine")
    assert first._superseded(store)


def test_a_trial_goes_on_from_what_another_machine_kept(
    store: ObjectStore, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = RemoteTrial(store.url, "trials/00000")
    first.claim("start")
    (first.folder / "checkpoint").mkdir()
    (first.folder / "checkpoint" / "manifest.json").write_text("1")
    first.publish()
    monkeypatch.setenv("XDG_CACHE_HOME", str(machine) + "-of-another-machine")
    fruitless = []
    for _ in range(3):
        later = RemoteTrial(store.url, "trials/00000")
        fruitless.append(later.claim("start").fruitless)
        assert (later.folder / "checkpoint" / "manifest.json").read_text() == "1"
        later.let_go()
        assert not later.folder.exists()
    assert fruitless == [0, 1, 2]


def test_models_that_are_not_kept_go_from_the_store(store: ObjectStore, machine: Path) -> None:
    trial = RemoteTrial(store.url, "trials/00000")
    trial.claim("start")
    for name in ("checkpoint", "best", "predictions"):
        (trial.folder / name).mkdir()
        (trial.folder / name / "file").write_text(name)
    trial.publish()
    study = RemoteStudy(store)
    assert study.has_model(0)
    StudyFolder(study.path, {}, study).drop(0, model=True)
    left = {name.removeprefix("trials/00000/").split("/")[0] for name in store.names("trials/00000")}
    assert left == {"attempts", "predictions", "published", ".kept"}
    assert {name.split("/")[-2] for name in store.names("trials/00000/.kept")} == {"predictions"}
    assert not study.has_model(0)


def test_what_an_earlier_search_could_not_drop_goes_at_the_next_start(
    store: ObjectStore, machine: Path
) -> None:
    import optuna  # noqa: PLC0415 - slow to import

    for name in ("trials/00000/best/file", "trials/00001/predictions/file"):
        store.write(name, b"x")
    study = RemoteStudy(store)
    trials = [optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL, user_attrs={}) for _ in range(2)]
    for number, trial in enumerate(trials):
        trial.number = number
    assert [trial.number for trial in study.with_models(trials)] == [0]
    KeptModels(StudyFolder(study.path, {}, study), ["sst"], 0).catch_up(trials)
    assert list(store.names("trials")) == ["trials/00001/predictions/file"]
    store.write("trials/notes.txt", b"somebody's")
    assert study.with_models(trials) == []


def test_the_journal_is_there_before_a_trial_runs(store: ObjectStore, machine: Path) -> None:
    study, journal = RemoteStudy(store), machine / "journal.log"
    machine.mkdir()
    journal.write_text("drawn\n")
    study.appended(journal, [{"op_code": 5}])
    assert not store.names("journal")
    journal.write_text("drawn\nwhole\n")
    study.appended(journal, [{"op_code": 8, "user_attr": {"config_id": "x"}}])
    assert Segments(store).fetch() == b"drawn\nwhole\n"
    journal.write_text("drawn\nwhole\nended\n")
    study.appended(journal, [{"op_code": 6}])
    assert Segments(store).fetch() == b"drawn\nwhole\nended\n"


def test_a_folder_that_holds_something_else_is_no_study(store: ObjectStore, machine: Path) -> None:
    store.write("notes.txt", b"mine")
    study = RemoteStudy(store)
    with pytest.raises(UserError, match=r"holds other things \(notes.txt\) and no study"), study.held(print):
        pass
    assert set(store.names()) == {"notes.txt"}


def test_a_study_that_lost_its_journal_is_refused(store: ObjectStore, machine: Path) -> None:
    store.write("study.yaml", b"schema_version: 1\n")
    store.write("trials/00000/published/0001-00000000-0001.json", b"{}")
    with (
        pytest.raises(UserError, match="journal/ is gone, but trials/ holds trials"),
        RemoteStudy(store).held(print),
    ):
        pass


def test_what_a_removed_study_left_on_this_machine_is_not_used(store: ObjectStore, machine: Path) -> None:
    study = RemoteStudy(store)
    (study.path / "trials" / "00000").mkdir(parents=True)
    (study.path / "study.yaml").write_text("schema_version: 1\n")
    with study.held(print):
        assert [entry.name for entry in study.path.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("s3://no-such-bucket/study", "there is no bucket no-such-bucket; make it first, or check its name"),
        ("s3:/studies/first", "did you mean s3://studies/first?"),
        ("S3:studies/first", "did you mean s3://studies/first?"),
        ("s3//studies/first", "did you mean s3://studies/first?"),
        ("s3://Studies_/first", "'Studies_' is no name of a bucket"),
        ("gs://bucket/study", "gs:// is not possible; s3://bucket/folder is, or a path"),
        (f"s3://{BUCKET}", "a bucket and a folder in it are needed"),
    ],
)
@pytest.mark.parametrize("option", ["--study", "--stages"])
@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_a_place_that_cannot_be_used_is_refused_before_anything_is_done(
    machine: Path,
    space: Path,
    search_command: CommandLine,
    place: str,
    said: str,
    option: str,
    options: tuple[str, ...],
) -> None:
    code, errors = search_command("--space", str(space), option, place, *options)
    assert (code, errors.count("\n")) == (2, 1)
    assert errors.startswith(f"error: {option} {place}: {said}") or said in errors
    assert not Path("results").exists()
    assert not machine.exists()


def test_a_store_that_does_not_answer_ends_the_search_in_one_line(
    machine: Path, space: Path, search_command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        code, errors = search_command(
            "--space", str(space), "--study", f"s3://{BUCKET}/study?region=us-east-1"
        )
    assert code == 3
    assert errors.startswith(f"error: s3://{BUCKET}/study?region=us-east-1: cannot be reached (")
    assert errors.endswith(f"; {Unreached.advice}\n") and "bucket's name" in Unreached.advice
    assert errors.count("\n") == 1


def test_a_study_is_not_forked_out_of_a_store(
    machine: Path, space: Path, search_command: CommandLine
) -> None:
    code, errors = search_command("--space", str(space), "--study", f"s3://{BUCKET}/study", "--fork", "new")
    assert code == 2
    assert "--fork takes over from a folder into a folder" in errors


def test_a_dry_run_writes_nothing_into_the_store(
    s3: S3, machine: Path, space: Path, search_command: CommandLine
) -> None:
    url = s3.url("dry")
    assert search_command("--space", str(space), "--study", url, "--dry-run") == (0, "")
    assert open_store(url).names() == {}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("notes.txt", b"mine", "holds other things (notes.txt) and no study"),
        (
            "study.yaml",
            b"schema_version: 99\n",
            "study.yaml: schema version 99; this program reads version 1",
        ),
    ],
)
def test_a_dry_run_refuses_what_the_search_would_refuse_in_the_store(
    s3: S3,
    machine: Path,
    space: Path,
    search_command: CommandLine,
    name: str,
    content: bytes,
    said: str,
) -> None:
    url = s3.url(f"taken-{name}")
    open_store(url).write(name, content)
    code, errors = search_command("--space", str(space), "--study", url, "--dry-run")
    assert (code, errors.count("\n")) == (2, 1)
    assert said in errors and url.partition("?")[0] in errors
    assert set(open_store(url).names()) == {name}


def test_a_report_on_a_place_without_a_study_says_so(
    s3: S3, machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main([s3.url("nothing")]) == 2
    said = "error: s3://studies/nothing: not a study (it has no study.yaml)\n"
    assert capsys.readouterr().err == said
    assert not list(machine.rglob("*"))


def test_a_path_is_no_remote_study(tmp_path: Path) -> None:
    assert open_remote(str(tmp_path)) is None
