"""``trainables.status``: what any other terminal shows of a study that runs, is finished, or was killed."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import optuna
import pytest
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from rich.console import Console

from analysis.pareto import pareto_front
from analysis.study import load
from benchmarks.synthetic_study import write_study
from minbert import command_line
from minbert.bundled import CORPUS, ENCODER
from minbert.errors import UserError
from minbert.files.durable import append_json
from minbert.now import Now, write_now
from minbert.remote.journal_segments import Segments
from minbert.remote.mirror import Mirror
from minbert.remote.object_store import ObjectStore, open_store
from minbert.sources import resolve
from tests.trainables.commands import CommandLine
from tests.trainables.watched import COMMAND, Watched, record_of, some_of_each
from trainables import status
from trainables.search_options import search_parser
from trainables.spaces.space import load_space
from trainables.studies.ledger import Ledger
from trainables.studies.locks import locked
from trainables.studies.opening import open_ledger
from trainables.studies.remote_lease import leased
from trainables.studies.study import make_folder, pinned_sources
from trainables.studies.study_description import described_plan, described_study

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "watching.md"
EXAMPLE = ROOT / "analysis" / "notebooks" / "example_study"
INSIDE = Now("finetune", 2, "training", 3, 8, 0.5, at=time.time() + 3600, attempt=1)

Status = Callable[..., tuple[int, str, str]]


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Status:
    """Run the command line in this process; returns exit code, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["status", *map(str, arguments)])
        code = command_line.run(status.main)
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study in ``finished``, and one whose search ended in the middle in ``begun``."""
    folder = tmp_path_factory.mktemp("studies")
    write_study(folder / "finished", 24)
    some_of_each(Watched(folder / "begun"))
    return folder


@pytest.fixture
def begun(studies: Path, tmp_path: Path) -> Path:
    return shutil.copytree(studies / "begun", tmp_path / "begun")


def data(show: Status, study: object) -> dict[str, Any]:
    """What ``--json`` says: one line, of which nothing is NaN."""

    def refuse(constant: str) -> NoReturn:
        raise AssertionError(constant)

    code, out, err = show(study, "--json")
    assert (code, err, out.count("\n")) == (0, "", 1)
    found: dict[str, Any] = json.loads(out, parse_constant=refuse)
    return found


def content(study: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(file.relative_to(study)): (file.stat().st_mtime_ns, file.read_bytes())
        for file in study.rglob("*")
        if file.is_file()
    }


def test_a_finished_study_is_counted_as_the_analysis_counts_it(show: Status, studies: Path) -> None:
    study = load(studies / "finished")
    trials = study.trials
    said = data(show, studies / "finished")
    states = trials["state"].value_counts()
    assert [said[state] for state in ("complete", "pruned", "failed")] == [
        states.get(state, 0) for state in ("complete", "pruned", "failed")
    ]
    complete = trials[trials["state"] == "complete"]
    assert said["best"]["trial"] == complete.loc[complete["score"].idxmax(), "number"]
    assert said["best"]["score"] == complete["score"].max()
    assert sorted(said["front"]) == sorted(pareto_front(trials, study.tasks)["number"])
    saved = trials["cost_alone"] - trials["cost_paid"]
    assert said["stages_shared"] == {"trials": (saved > 0).sum(), "seconds_saved": pytest.approx(saved.sum())}
    assert (said["finished"], said["driver"], said["running"]) == (True, None, [])
    _, out, _ = show(studies / "finished")
    assert out.startswith("synthetic: 24 of 24 trials done: ")
    assert out.endswith(f"\nfinished; report: python -m analysis.report {studies / 'finished'}\n")


def test_while_a_search_is_at_work_its_process_and_its_running_trials_are_shown(
    show: Status, begun: Path
) -> None:
    with locked(begun):
        (begun / "trials/00004/attempts/0001").touch()  # by a worker of this search
        _, out, _ = show(begun)
        said = data(show, begun)
    assert "4 of 6 trials done: 2 complete, 1 stopped early, 1 failed, 1 running" in out
    assert "failed: 1 nan; last: trial 3: the loss is no number" in out
    assert re.search(r"^ +4  finetune +1/3 +0\.350 +0\.450\* +0\.550 +0\.450 +\d+ s$", out, re.MULTILINE)
    assert f"a search is at work on it: process {os.getpid()} on host " in out
    assert "continue with" not in out
    assert said["driver"]["at_work"] is True
    assert [trial["trial"] for trial in said["running"]] == [4]


def test_inside_an_epoch_it_shows_which_one_and_how_much_of_it_is_done(show: Status, begun: Path) -> None:
    folder = begun / "trials/00004"
    with locked(begun):
        (folder / "attempts/0001").touch()
        write_now(folder, INSIDE)
        (running,) = data(show, begun)["running"]
        out = show(begun)[1]
        write_now(folder, replace(INSIDE, doing="scoring", step=8))
        scoring = show(begun)[1]
        write_now(folder, replace(INSIDE, doing="scoring", step=8, scored=0.4, scoring_seconds=2.0))
        scored, (told,) = show(begun)[1], data(show, begun)["running"]
    said = [running[name] for name in ("stage", "epoch", "epochs", "doing", "share")]
    assert said == ["finetune", 2, 3, "training", 0.375]
    assert running["scores"]["score"] == pytest.approx(0.45)
    assert re.search(r"^ +4  finetune +2/3 +37% +0\.350 +0\.450\* +0\.550 +0\.450 +\d+ s$", out, re.MULTILINE)
    assert re.search(r"^ +4  finetune +2/3  scoring +0\.350 ", scoring, re.MULTILINE)
    assert re.search(r"^ +4  finetune +2/3  scoring 40% +0\.350 ", scored, re.MULTILINE)
    assert (told["doing"], told["share"]) == ("scoring", 0.4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempt": 2},
        {"attempt": 0},
        {"at": 1e9},
        {"epoch": 1},
        {"epoch": 4},
        {"stage": "simcse"},
        {"doing": "?"},
    ],
)
def test_what_another_start_or_anybody_else_has_left_there_is_not_shown(
    wrong: dict[str, Any], show: Status, begun: Path
) -> None:
    with locked(begun):
        (begun / "trials/00004/attempts/0001").touch()
        write_now(begun / "trials/00004", replace(INSIDE, **wrong))
        (running,) = data(show, begun)["running"]
    assert [running[name] for name in ("stage", "epoch", "doing", "share")] == ["finetune", 1, None, None]


def test_of_a_search_that_is_gone_nothing_is_shown_that_it_did_just_then(show: Status, begun: Path) -> None:
    write_now(begun / "trials/00004", INSIDE)
    (running,) = data(show, begun)["running"]
    assert (running["epoch"], running["share"]) == (1, None)


def test_a_trial_that_was_just_handed_out_is_starting(show: Status, tmp_path: Path) -> None:
    watched = Watched(tmp_path / "study", trials=2)
    with locked(watched.folder):
        assert show(watched.folder)[1].startswith("small: 0 of 2 trials done\n")
        watched.ledger.next()
        said, out = data(show, watched.folder), show(watched.folder)[1]
    assert ([trial["trial"] for trial in said["running"]], said["waiting"]) == ([0], [])
    assert out.startswith("small: 0 of 2 trials done: 1 running\n")
    assert re.search(r"^ +0  starting +0 s$", out, re.MULTILINE)


def test_beside_a_running_trial_one_that_no_worker_has_started_may_wait_for_a_stage(
    show: Status, tmp_path: Path
) -> None:
    watched = Watched(tmp_path / "study", trials=2)
    with locked(watched.folder):
        watched.start()
        watched.ledger.next()
        said, out = data(show, watched.folder), show(watched.folder)[1]
    assert ([trial["trial"] for trial in said["running"]], said["waiting"]) == ([0], [1])
    assert "\n1 trial waits for a stage that another one makes, or is about to start\n" in out


def test_a_trial_of_an_earlier_search_goes_on_where_that_left_it(show: Status, begun: Path) -> None:
    with locked(begun):
        os.utime(begun / "trials/00004/attempts/0001", (1e9, 1e9))
        said = data(show, begun)
    assert [(trial["epoch"], trial["seconds"]) for trial in said["running"]] == [(1, 0.0)]


def test_when_the_search_is_gone_it_says_so_and_how_to_continue(show: Status, begun: Path) -> None:
    with locked(begun):
        pass  # leaves the lock's file behind, signed by this process, which lives but holds nothing
    _, out, _ = show(begun)
    assert f"no search is at work on it any more (the last was process {os.getpid()})" in out
    assert out.endswith(f"continue with: {COMMAND} --study {begun}\n")
    assert "1 begun" in out
    assert "time left once it is continued: about " in out


def test_of_a_trial_that_has_done_no_epoch_a_dead_study_says_the_same_in_both_places(
    show: Status, tmp_path: Path
) -> None:
    watched = Watched(tmp_path / "study", trials=24)
    watched.start()
    out = show(watched.folder)[1]
    assert out.startswith("small: 0 of 24 trials done: 1 begun\n")
    assert re.search(r"^ +0  begun, no epoch done *$", out, re.MULTILINE)
    assert "not begun" not in out


def test_of_a_search_on_another_host_it_says_which_and_when_it_wrote_last(show: Status, begun: Path) -> None:
    (begun / ".lock").write_text("host elsewhere, process 1")
    _, out, _ = show(begun)
    assert (
        "was started on another host, elsewhere (process 1): look there whether it is at work; written last "
        in out
    )
    assert data(show, begun)["driver"] == {"host": "elsewhere", "process": 1, "at_work": None}


def test_looking_leaves_everything_as_it_was_and_needs_no_lock(show: Status, begun: Path) -> None:
    before = content(begun)
    show(begun)
    assert content(begun) == before
    with locked(begun):
        before = content(begun)
        assert show(begun)[0] == 0
        assert content(begun) == before


def test_a_study_can_be_read_at_every_moment_at_which_its_journal_is_written(
    show: Status, begun: Path
) -> None:
    whole = (begun / "journal.log").read_bytes()
    done = []
    for length in range(0, len(whole), len(whole) // 40):
        (begun / "journal.log").write_bytes(whole[:length])
        done.append(data(show, begun)["done"])
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, 4)


def test_a_damaged_journal_is_shown_up_to_the_damage(show: Status, begun: Path) -> None:
    lines = (begun / "journal.log").read_bytes().splitlines(keepends=True)
    at = len(lines) // 2
    (begun / "journal.log").write_bytes(b"".join([*lines[:at], b"{}\n", *lines[at + 1 :]]))
    code, out, _ = show(begun)
    assert code == 0
    assert f"journal.log:{at + 1}: damaged" in out
    assert "--fork NEW\nwhat stands before that is shown\n" in out and "continue with" not in out
    assert data(show, begun)["command"] is None
    assert "2 complete" in out or "1 complete" in out


def test_a_study_yaml_of_another_study_is_told_and_no_command_is_given(show: Status, begun: Path) -> None:
    spec = yaml.safe_load((begun / "study.yaml").read_text())
    (begun / "study.yaml").write_text(yaml.safe_dump({**spec, "seed": 3}, sort_keys=False))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        storage = JournalStorage(JournalFileBackend(str(begun / "journal.log")))
        (study,) = optuna.get_all_study_summaries(storage)
        optuna.load_study(study_name=study.study_name, storage=storage).set_user_attr("of", {"seed": 4})
    first, *rest = (begun / "journal.log").read_bytes().splitlines(keepends=True)
    (begun / "journal.log").write_bytes(b"".join([first, rest[-1], *rest[:-1]]))
    out = show(begun)[1]
    assert "seed is 3, but that of the trials in journal.log is 4; bring back the file" in out
    assert "continue with" not in out and data(show, begun)["command"] is None


def test_a_copied_study_is_continued_where_it_lies(show: Status, begun: Path, tmp_path: Path) -> None:
    file = begun / "study.yaml"
    spec = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**spec, "command": f"{COMMAND} --study {begun}"}, sort_keys=False))
    copy = shutil.copytree(begun, tmp_path / "copy")
    assert show(begun)[1].endswith(f"continue with: {COMMAND} --study {begun}\n")
    assert show(copy)[1].endswith(f"continue with: {COMMAND} --study {copy}\n")
    assert data(show, copy)["command"] == f"{COMMAND} --study {copy}"


@pytest.mark.parametrize("lose", [Path.unlink, lambda file: file.write_bytes(b"")])
def test_without_its_journal_a_study_is_not_called_one_to_continue(
    show: Status, begun: Path, lose: Callable[[Path], object]
) -> None:
    lose(begun / "journal.log")
    out, said = show(begun)[1], data(show, begun)
    assert (
        f"\n{begun / 'journal.log'}: is gone, but trials/ holds 5 trials, of which it is the only account"
        in out
    )
    assert "continue with" not in out
    assert (said["command"], said["damage"] in out) == (None, True)
    shutil.rmtree(begun / "trials")
    assert "is gone" not in (out := show(begun)[1]) and out.endswith(
        f"continue with: {COMMAND} --study {begun}\n"
    )


def test_what_is_no_number_is_null_what_is_damaged_is_left_out_and_nothing_steers_the_terminal(
    show: Status, begun: Path
) -> None:
    history = begun / "trials/00004/history.jsonl"
    append_json(history, {**record_of(2, 0.5), "select": {"sst": float("nan"), "score": 0.5}})
    with history.open("a") as file:
        file.write('{"stage": 3}\n')
    (begun / "trials/00004/config.yaml").write_text("seed: [")
    (begun / "study.yaml").write_text((begun / "study.yaml").read_text().replace("small", '"\\e[31msmall"'))
    (running,) = data(show, begun)["running"]
    assert (running["epoch"], running["epochs"], running["scores"]) == (2, 0, {"sst": None, "score": 0.5})
    shown = show(begun)[1]
    assert "nan" in shown
    assert "\x1b" not in shown


def test_equal_failures_that_ended_a_search_are_named(show: Status, tmp_path: Path) -> None:
    watched = Watched(tmp_path / "study", trials=9)
    for _ in range(5):
        watched.end(watched.start(), "failed", "oom", "out of memory")
    assert "the last trials all failed (oom), which ends a search" in show(tmp_path / "study")[1]


@pytest.fixture
def remote(begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """The study of ``begun`` in a store, as a search leaves it there."""
    monkeypatch.setenv("MINBERT_CACHE", str(tmp_path / "cache"))
    return sent(begun, tmp_path)


def sent(study: Path, place: Path) -> ObjectStore:
    """The store of a study that was sent there."""
    store = open_store((place / "bucket" / study.name).as_uri())
    store.upload(study / "study.yaml", "study.yaml")
    for folder in study.glob("trials/*"):
        name = f"trials/{folder.name}"
        Mirror(store, name, folder, lambda name: name.startswith("attempts/")).publish(1)
        for start in folder.glob("attempts/*"):
            store.upload(start, f"{name}/attempts/{start.name}")
    Segments(store).append(study / "journal.log")
    return store


def test_a_study_in_a_store_is_shown_as_its_folder_is(
    show: Status, begun: Path, remote: ObjectStore, tmp_path: Path
) -> None:
    with locked(begun), leased(remote):
        for study in (begun, tmp_path / "bucket/begun"):
            os.utime(study / "trials/00004/attempts/0001")  # by a worker of this search
        here, there = data(show, begun), data(show, remote.url)
    assert [trial["trial"] for trial in there["running"]] == [4]
    passing = {"time", "running", "driver", "seconds_since_written", "seconds_left", "command"}
    assert (here["command"], there["command"]) == (f"{COMMAND} --study {begun}", COMMAND)
    assert {key: there[key] for key in there.keys() - passing} == {
        key: here[key] for key in here.keys() - passing
    }
    assert (there["driver"]["process"], there["driver"]["at_work"]) == (os.getpid(), True)
    with leased(remote):
        os.utime(
            tmp_path / "bucket/begun/trials/00004/attempts/0001", (1e9, 1e9)
        )  # by one of an earlier search
        assert [trial["seconds"] for trial in data(show, remote.url)["running"]] == [0.0]
    _, out, _ = show(remote.url)
    assert "no search is at work on it\n" in out
    assert out.endswith(f"continue with: {COMMAND}\n")


def test_of_a_study_in_a_store_it_says_when_the_store_was_written_not_when_it_was_read(
    show: Status, remote: ObjectStore, tmp_path: Path
) -> None:
    for file in (tmp_path / "bucket").rglob("*.*"):
        os.utime(file, (time.time() - 7200,) * 2)
    for file in (tmp_path / "bucket/begun/journal").iterdir():
        os.utime(file, (time.time() - 3600,) * 2)
    assert 3600 <= data(show, remote.url)["seconds_since_written"] < 3700


def test_a_driver_that_gives_no_sign_any_more_is_not_at_work(
    show: Status, remote: ObjectStore, tmp_path: Path
) -> None:
    remote.write("drivers/ab", b'{"host": "lost", "process": 7}')
    assert data(show, remote.url)["driver"] == {"host": "lost", "process": 7, "at_work": True}
    os.utime(tmp_path / "bucket/begun/drivers/ab", (time.time() - 100,) * 2)
    assert (
        "no search is at work on it any more (the last was process 7); written last " in show(remote.url)[1]
    )
    remote.write("drivers/cd", b'{"host": "other", "process": 8, "holds": false}')
    assert data(show, remote.url)["driver"]["process"] == 7, "one that only asks drives nothing"
    remote.delete(["drivers/cd"])
    remote.write("drivers/ab", b"\xff")
    assert data(show, remote.url)["driver"] is None


def test_what_was_interrupted_is_not_finished_though_fewer_trials_are_asked_for_now(
    show: Status, begun: Path
) -> None:
    spec = (begun / "study.yaml").read_text().replace("trials: 6", "trials: 4")
    (begun / "study.yaml").write_text(spec)
    assert show(begun)[1].endswith(f"continue with: {COMMAND} --study {begun}\n")


TWO = """\
description: Two configurations, of which more are asked for
search: {design: optuna, trials: 5}
pooling: {choice: [mean, cls]}
stages: {finetune: {epochs: 1, epoch_examples: 32}}
"""


@pytest.fixture
def two(tmp_path: Path) -> Path:
    path = tmp_path / "two.yaml"
    path.write_text(TWO)
    return path


def driven(folder: Path, path: Path) -> Ledger:
    """A study as a search begins it, with the account of its trials."""
    space = load_space(str(path))
    sources = resolve(str(CORPUS), str(ENCODER), space.example().tasks)
    numerics = {"device": "cpu", "precision": "fp32", "threads": 1}
    spec = {**described_study(space, sources, 0, COMMAND), **numerics, **described_plan(space, numerics)}
    pinned = {**pinned_sources(sources), **numerics}
    return open_ledger(make_folder(folder, spec), space, 0, pinned, Console(quiet=True))


def test_a_study_whose_space_has_fewer_runs_than_were_asked_for_is_finished_once_all_have_run(
    show: Status, search_command: CommandLine, two: Path, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    ledger = driven(study, two)
    for _ in range(2):
        issue = ledger.next()
        assert issue is not None
        ledger.finish(issue.number, "failed", "nan", "")
    assert ledger.next() is None
    assert data(show, study)["finished"] is False  # its search was lost just here
    assert search_command("--space", str(two), "--study", str(study), "--seed", "0") == (0, "")
    said = data(show, study)
    assert (said["finished"], said["done"], said["trials"]) == (True, 2, 2)
    out = show(study)[1]
    assert "2 of 2 trials done" in out
    assert "all configurations of the space have run, fewer than were asked for\nfinished; report: " in out
    assert "time left" not in out


@pytest.mark.parametrize("said", [0, -1, 7, True, "4", 2.5, None, [4]])
def test_a_study_is_not_finished_because_its_description_was_damaged(
    show: Status, begun: Path, said: object
) -> None:
    with (begun / "study.yaml").open("a") as file:
        file.write(f"exhausted: {json.dumps(said)}\n")
    assert (data(show, begun)["finished"], data(show, begun)["trials"]) == (False, 6)


def test_a_finished_study_in_a_store_is_reported_from_there(
    show: Status, studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINBERT_CACHE", str(tmp_path / "cache"))
    store = sent(studies / "finished", tmp_path)
    assert show(store.url)[1].endswith(f"\nfinished; report: python -m analysis.report {store.url}\n")


def test_damage_in_a_store_is_told_by_its_url(show: Status, remote: ObjectStore) -> None:
    remote.write("study.yaml", b"a: 1\n")
    assert show(remote.url)[2].startswith(
        f"error: {remote.url}/study.yaml: damaged, or not a study description"
    )
    remote.delete(["study.yaml"])
    assert f"error: {remote.url}: not a study" in show(remote.url)[2]


def test_watching_goes_on_until_the_search_ends(begun: Path) -> None:
    command = [sys.executable, "-m", "trainables.status", str(begun), "--watch", "0.1", "--json"]
    with locked(begun):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
    lines = [json.loads(line) for line in process.communicate(timeout=60)[0].splitlines()]
    assert first["driver"]["at_work"] is True
    assert lines[-1]["driver"]["at_work"] is False
    assert process.returncode == 0


def test_watching_waits_for_a_study_that_is_about_to_begin(show: Status, begun: Path, tmp_path: Path) -> None:
    soon = tmp_path / "soon"
    soon.mkdir()
    command = [sys.executable, "-m", "trainables.status", str(soon), "--watch", "0.1", "--json"]
    with locked(soon):
        code, out, err = show(soon)
        assert (code, out) == (2, "")
        happening = f"{soon}: process {os.getpid()} is about to begin a study there; "
        assert err == f"error: {happening}look again soon\n"
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None and process.stdout is not None
        assert process.stderr.readline() == f"{happening}waiting for it\n"
        time.sleep(0.5)  # several looks
        assert process.poll() is None
        shutil.copytree(begun, soon, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".lock"))
        first = json.loads(process.stdout.readline())
    out, err = process.communicate(timeout=60)
    assert (first["study"], first["driver"]["at_work"]) == ("small", True)
    assert (process.returncode, err) == (0, "")


def test_watching_a_study_that_does_not_begin_after_all_ends(show: Status, tmp_path: Path) -> None:
    soon = tmp_path / "soon"
    soon.mkdir()
    with locked(soon):
        command = [sys.executable, "-m", "trainables.status", str(soon), "--watch", "0.1"]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        assert process.stderr.readline().endswith("waiting for it\n")
    assert process.communicate(timeout=60)[1].endswith("not a study folder (it has no study.yaml)\n")
    assert process.returncode == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["empty"], "empty: not a study folder (it has no study.yaml)"),
        (["file"], "file: not a folder"),
        (["other"], "other/study.yaml: damaged, or not a study description: it has no name"),
        (["many"], "many/study.yaml: damaged: a study of 10000000000 trials"),
        (["."], ".: not a study folder"),
        (["empty", "--watch", "0"], "'0' is not a number above 0"),
        (["empty", "--watch", "nan"], "'nan' is not a number above 0"),
        (["s3://bucket"], "s3://bucket: a bucket and a folder in it are needed"),
        (["gs://bucket/study"], "gs://bucket/study: gs:// is not possible"),
        ([""], "it is empty: is a variable of the shell not set?"),
        (["300 times " * 30], "has 300 bytes"),
        ([], "the following arguments are required: STUDY"),
    ],
)
def test_a_mistake_is_one_line(
    show: Status, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "other", "many"):
        Path(name).mkdir()
    Path("file").touch()
    Path("other/study.yaml").write_text("a: 1\n")
    Path("many/study.yaml").write_text("name: a\ntasks: {}\ntrials: 10000000000\n")
    code, out, err = show(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("full_ablation", "full_ablation: no such folder; did you mean results/full_ablation?"),
        (
            "results/full_ablatoin",
            "results/full_ablatoin: no such folder; did you mean results/full_ablation?",
        ),
        (
            "results",
            "not a study folder (it has no study.yaml); studies in it: results/full_ablation, results/heads",
        ),
        ("elsewhere/wxyz", "elsewhere/wxyz: no such folder\n"),
    ],
)
def test_whoever_misspells_a_study_is_told_of_those_that_there_are(
    show: Status, studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("full_ablation", "heads"):
        shutil.copytree(studies / "begun", tmp_path / "results" / name)
    assert said in show(given)[2]
    with pytest.raises(UserError) as caught:
        load(Path(given))
    assert said.strip() in str(caught.value)


def test_what_a_trial_says_inside_an_epoch_counts_as_written(show: Status, begun: Path) -> None:
    for file in begun.rglob("*"):
        os.utime(file, (time.time() - 3600,) * 2)
    assert data(show, begun)["seconds_since_written"] >= 3600
    write_now(begun / "trials/00004", INSIDE)
    assert data(show, begun)["seconds_since_written"] < 600


def commands() -> list[str]:
    """The commands of the page's code blocks."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line for language, block in found if not language for line in block.splitlines()]
    return [line.split("  #")[0].strip() for line in lines if line.strip()]


def test_the_pages_status_commands_run_on_a_finished_study(show: Status) -> None:
    shown = [command for command in commands() if "trainables.status" in command]
    assert len(shown) >= 3
    for command in shown:
        arguments = command.removeprefix("python -m trainables.status ").split(" | ")[0].split()
        code, out, err = show(*(EXAMPLE if each == "results/full_ablation" else each for each in arguments))
        assert (code, err) == (0, ""), command
        assert "50" in out


def test_the_pages_search_commands_are_understood() -> None:
    shown = [command.split(" > ")[0].split()[3:] for command in commands() if "trainables.search" in command]
    read = [search_parser(None).parse_args(arguments) for arguments in shown]
    assert [(each.json, each.tensorboard) for each in read] == [(False, True), (True, False)]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def fetched(address: str, process: subprocess.Popen[bytes]) -> Any:
    """What a server that is just starting answers."""
    while process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.URLError:
            time.sleep(0.1)
    raise AssertionError(process.communicate())


def test_optuna_dashboard_opens_the_journal_as_it_is(begun: Path) -> None:
    (command,) = [each for each in commands() if each.startswith("optuna-dashboard")]
    program, journal = command.split()
    before, port = content(begun), free_port()
    path = journal.replace("results/full_ablation", str(begun))
    process = subprocess.Popen(
        [Path(sys.executable).with_name(program), path, "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        api = f"http://127.0.0.1:{port}/api/studies"
        (study,) = fetched(api, process)["study_summaries"]
        trials = fetched(f"{api}/{study['study_id']}?after=0", process)["trials"]
    finally:
        process.kill()
        process.communicate()
    assert [trial["state"] for trial in trials] == ["Complete", "Complete", "Pruned", "Fail", "Running"]
    assert trials[1]["values"] == [0.6]
    assert content(begun) == before
