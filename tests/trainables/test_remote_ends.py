"""How a search ends, and what its workers, on other machines, too, keep then: nothing is lost, and nothing is left."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from ray.cluster_utils import Cluster

from minbert.files.sealed import seal_folder
from minbert.remote.object_store import ObjectStore, open_store
from minbert.remote.working_copy import working_copy
from tests.trainables.commands import SPACE, start_search
from tests.trainables.object_stores import S3
from tests.trainables.studies import state_names, wait_until, wait_until_all_end
from tests.trainables.test_ledger import open_ledger
from trainables.running import end_of_search
from trainables.running.end_of_search import EndOfSearch
from trainables.running.remote_trial import RemoteTrial
from trainables.running.searcher import LedgerSearcher
from trainables.spaces.space import load_space

HANG = 500
ENDLESS = """\
description: Trials that are in mid-epoch when the search ends
search: {design: listed}
runs: {endless: {set: {stages.finetune.epoch_examples: 1000000}}}
stages: {simcse: {epochs: 0}, finetune: {epochs: 200, epoch_examples: 64}}
"""
OPTIONS = ("--set", "device=cpu", "--set", "precision=fp32")


class Ending:
    """The end of a search with so many trials that run, and all that is told of it."""

    def __init__(self, folder: Path, running: int = 1, patience: float = 60.0) -> None:
        ledger = open_ledger(folder, load_space(str(SPACE)))
        self.searcher = LedgerSearcher(ledger, lambda issue: {})
        self.told: list[str] = []
        self.due = False
        tell, say = (lambda: self.told.append("workers")), self.told.append
        self.stopper = EndOfSearch(self.searcher, lambda: self.due, tell, say, patience)
        self.trials = [SimpleNamespace(status="RUNNING") for _ in range(running)]
        self.trials += [SimpleNamespace(status=status) for status in ("PENDING", "TERMINATED", "ERROR")]

    def step(self) -> bool:
        """As Tune asks, again and again."""
        over = self.stopper.stop_all()
        self.stopper.look(self.trials)
        return over


def test_a_search_that_ends_tells_all_workers_once_and_waits_for_those_that_run(tmp_path: Path) -> None:
    ending = Ending(tmp_path, running=2)
    assert (ending.step(), ending.told, ending.searcher.closing) == (False, [], False)
    ending.due = True
    assert [ending.step() for _ in range(3)] == [False] * 3
    assert (ending.told, ending.searcher.closing) == (["workers"], True)
    ending.trials[0].status = "TERMINATED"
    assert not ending.step()
    ending.trials[1].status = "PENDING"  # its worker died, and another one would have to start first
    ending.step()
    assert ending.step()


def test_storage_that_fails_on_one_machine_ends_the_trials_of_all_machines_so(tmp_path: Path) -> None:
    ending = Ending(tmp_path)
    ending.searcher.storage_failure = "disk: No space left on device"
    assert not ending.step()
    assert (ending.told, ending.searcher.closing) == (["workers"], True)


def test_a_trial_that_takes_too_long_is_waited_for_no_longer_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(end_of_search, "_SILENT_SECONDS", 0.0)
    ending = Ending(tmp_path, running=2, patience=0.4)
    ending.due = True
    assert not ending.step() and not ending.step() and not ending.step()
    assert ending.told == ["workers", "waiting for 2 trials to keep what was done, for 0 s at most"]
    time.sleep(0.5)
    assert ending.step()
    assert ending.told[2:] == ["2 trials took too long and will go on from the last checkpoint"]


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A study whose store is a folder, which can be taken away and brought back."""
    monkeypatch.setenv("MINBERT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "store").mkdir()
    return f"file://{tmp_path}/store/study"


@contextmanager
def away(url: str) -> Iterator[None]:
    """Nothing can be sent to a store."""
    place = Path(url.removeprefix("file://"))
    place.rename(place.with_name("aside"))
    place.write_text("no folder")
    yield
    place.unlink()
    place.with_name("aside").rename(place)


def keep(trial: RemoteTrial, epoch: str) -> None:
    """Keep an epoch in the copy."""
    folder = trial.folder / "checkpoint"
    folder.mkdir(exist_ok=True)
    for name in ("manifest.json", "state.safetensors"):
        (folder / name).write_text(epoch)
    seal_folder(folder)


def begun(url: str, name: str = "trials/00000") -> RemoteTrial:
    trial = RemoteTrial(url, name)
    trial.claim("start")
    return trial


@pytest.fixture
def unsent(url: str) -> Path:
    """The copy of a trial whose second epoch could not be sent."""
    trial = begun(url)
    keep(trial, "first")
    trial.publish()
    keep(trial, "second")
    with away(url), pytest.raises(OSError, match="store"):
        trial.publish()
    trial.let_go()
    return trial.folder


MANIFEST = "trials/00000/checkpoint/manifest.json"


def test_an_epoch_that_could_not_be_sent_is_sent_by_the_machines_next_start_of_the_trial(
    url: str, unsent: Path
) -> None:
    store = open_store(url)
    assert store.read(MANIFEST) == b"first"
    trial = begun(url)
    assert store.read(MANIFEST) == b"second"
    assert (trial.folder / "checkpoint" / "manifest.json").read_text() == "second"
    trial.let_go()
    assert not unsent.exists()


def test_what_could_not_be_sent_counts_no_more_once_another_machine_went_on(
    url: str, unsent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("MINBERT_CACHE", str(tmp_path / "another"))
        other = begun(url)
        keep(other, "second, of another machine")
        other.publish()
    trial = begun(url)
    assert (trial.folder / "checkpoint" / "manifest.json").read_text() == "second, of another machine"


def test_what_could_not_be_sent_and_was_damaged_since_is_not_sent(url: str, unsent: Path) -> None:
    (unsent / "checkpoint" / "state.safetensors").write_text("damaged")
    trial = begun(url)
    assert open_store(url).read(MANIFEST) == b"first"
    assert (trial.folder / "checkpoint" / "state.safetensors").read_text() == "first"


def test_a_copy_is_let_go_once(url: str) -> None:
    trial = begun(url)
    trial.let_go()
    trial.folder.mkdir()  # another process begins
    trial.let_go()
    assert trial.folder.is_dir()


def work(url: str, name: str, ready: Connection) -> None:
    begun(url, name)
    ready.send("ready")
    time.sleep(HANG)


@contextmanager
def worker(url: str, name: str) -> Iterator[BaseProcess]:
    """A process that works on a trial."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=work, args=(url, name, there), daemon=True)
    process.start()
    assert here.poll(HANG)
    try:
        yield process
    finally:
        process.kill()
        process.join()


def long_ago(*copies: Path) -> None:
    for copy in copies:
        os.utime(copy, (0, 0))


def test_a_start_clears_copies_of_killed_workers_and_of_nobody_else(url: str) -> None:
    trials, other = working_copy(url) / "trials", f"{url}-other"
    (working_copy(url) / "journal.log").parent.mkdir(parents=True)
    (working_copy(url) / "journal.log").write_text("the driver's")
    (trials / "00007").mkdir(parents=True)  # the driver's, too
    with (
        worker(url, "trials/00001"),
        worker(url, "trials/00002") as killed,
        worker(other, "trials/00003") as too,
    ):
        for process in (killed, too):
            process.kill()
            process.join()
        copies = [
            trials / "00001",
            trials / "00002",
            working_copy(other) / "trials" / "00003",
            trials / "00007",
        ]
        begun(url).let_go()
        assert [copy.is_dir() for copy in copies] == [True] * 4, "they may come back to it"
        long_ago(*copies)
        begun(url).let_go()
        assert [copy.is_dir() for copy in copies] == [True, False, False, True]
        assert not [each for copy in copies for each in copy.parent.glob(".*.old")]
    assert (working_copy(url) / "journal.log").is_file()


def test_a_copy_that_is_further_than_the_store_stays_until_another_machine_went_on(
    url: str, unsent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_ago(unsent)
    begun(url, "trials/00001").let_go()
    begun(f"{url}-other").let_go()
    assert (unsent / "checkpoint" / "manifest.json").read_text() == "second"
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("MINBERT_CACHE", str(tmp_path / "another"))
        other = begun(url)
        keep(other, "third")
        other.publish()
    begun(url, "trials/00001").let_go()
    assert not unsent.exists()


class Machines:
    """A head that runs no trials, and one machine that shares no cache with it, in which trials are begun."""

    def __init__(self, cluster: Cluster, folder: Path, slots: int, s3: S3) -> None:
        self.address, self.cache = cluster.address, folder / "another-machine"
        environment = {**s3.environment, "MINBERT_CACHE": str(self.cache)}
        cluster.add_node(
            num_cpus=slots, node_ip_address="127.0.0.1", include_dashboard=False, env_vars=environment
        )

    def copies(self, number: int) -> list[Path]:
        return [path.parent for path in self.cache.glob(f"working/*/trials/{number:05d}/config.yaml")]

    def wait_until_it_trains(self, number: int, process: subprocess.Popen[str]) -> Path:
        """Wait until a trial has computed for longer than it takes to begin; returns its copy."""
        wait_until(lambda: self.copies(number), process, HANG)
        (copy,) = self.copies(number)
        worker = psutil.Process(json.loads((copy / "attempts" / "0001").read_text())["process"])
        enough = worker.cpu_times().user + 3
        wait_until(lambda: worker.cpu_times().user > enough, process, HANG)
        return copy


@pytest.fixture
def machines(
    empty_cluster: Cluster, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[int], Machines]:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "head"))
    return lambda slots: Machines(empty_cluster, tmp_path, slots, s3)


def search(tmp_path: Path, url: str, machines: Machines, space: str) -> subprocess.Popen[str]:
    (tmp_path / "space.yaml").write_text(space)
    options = (*OPTIONS, "--study", url, "--address", machines.address)
    return start_search(tmp_path, *options, space=tmp_path / "space.yaml")


def kept(store: ObjectStore, number: int) -> dict[str, Any]:
    manifest = store.read(f"trials/{number:05d}/checkpoint/manifest.json")
    assert manifest is not None, "what it did is lost"
    return dict(json.loads(manifest))


@pytest.mark.chaos
def test_a_signal_costs_a_trial_on_another_machine_nothing_though_the_store_is_slow(
    s3: S3, machines: Callable[[int], Machines], tmp_path: Path
) -> None:
    there, url = machines(1), s3.url("signal")
    process = search(tmp_path, url, there, ENDLESS)
    copy = there.wait_until_it_trains(0, process)
    assert s3.process is not None
    os.kill(s3.process.pid, signal.SIGSTOP)
    threading.Timer(15, os.kill, (s3.process.pid, signal.SIGCONT)).start()
    os.kill(process.pid, signal.SIGTERM)
    output, errors = process.communicate(timeout=HANG)
    assert (process.returncode, errors) == (130, ""), output
    assert "waiting for 1 trial to keep what was done" in output
    manifest = kept(open_store(url), 0)
    assert manifest["unfinished"]["steps"] == manifest["step"] > 0
    assert not copy.exists(), "the store has it"
    assert state_names(s3.copy("signal", tmp_path / "copied")) == ["RUNNING"]


@pytest.mark.chaos
def test_storage_that_breaks_for_one_trial_lets_the_others_keep_what_they_did(
    s3: S3, machines: Callable[[int], Machines], tmp_path: Path
) -> None:
    there, url = machines(2), s3.url("breaks")
    process = search(tmp_path, url, there, ENDLESS.replace("runs: {", "runs: {short: {}, "))
    there.wait_until_it_trains(1, process)
    there.wait_until_it_trains(0, process).rename(tmp_path / "taken-away")
    output, errors = process.communicate(timeout=HANG)
    assert (process.returncode, errors.count("\n")) == (3, 1), output + errors
    assert "is no longer there" in errors
    wait_until_all_end(tmp_path)
    manifest = kept(open_store(url), 1)
    assert manifest["unfinished"]["steps"] == manifest["step"] > 0
    assert state_names(working_copy(url)) == ["RUNNING", "RUNNING"]
