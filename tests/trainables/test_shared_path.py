"""A study folder that only one machine of a cluster has is refused before a trial runs there."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

import pytest
from ray.cluster_utils import Cluster

from tests.needing_root import cannot_run
from tests.trainables.commands import start_search
from tests.trainables.studies import attempts
from tests.trainables.test_lost_workers import SPACE, assert_ends_as_if_undisturbed, node_of, start
from trainables.machines.seen_folders import unseen
from trainables.machines.shared_path import tokens_in

_HANG = 300
_OWN_MOUNTS, _OWN_PLACE = 0x00020000, 0x00000200  # CLONE_NEWNS and CLONE_FS of linux/sched.h


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head and a worker."""
    head = {"num_cpus": 0, "node_ip_address": "127.0.0.1", "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1")
    yield cluster
    cluster.shutdown()


def test_a_folder_that_a_node_does_not_see_is_refused(tmp_path: Path, cluster: Cluster) -> None:
    own = Path("/proc/self/cwd/study")  # of every process another one, as a folder of every machine's own is
    process = start_search(tmp_path, "--address", cluster.address, "--study", str(own), "--trials", "1")
    _, errors = process.communicate(timeout=_HANG)
    assert process.returncode == 2
    assert errors.startswith(f"error: --study {own}: node ")
    assert errors.endswith(
        "name one that all nodes mount at the same path, or a URL such as s3://bucket/folder\n"
    )
    assert not (tmp_path / "study").exists()


@pytest.mark.chaos
def test_a_node_without_the_program_is_named_before_anything_is_written(
    tmp_path: Path, cluster: Cluster
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text("import sys\nsys.modules['trainables'] = None\n")
    cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1", env_vars={"PYTHONPATH": str(broken)})
    process = start_search(tmp_path, "--address", cluster.address, "--trials", "1")
    _, errors = process.communicate(timeout=_HANG)
    assert process.returncode == 3
    assert re.fullmatch(r"error: node \S+ cannot run the program: [^\n]*trainables[^\n]*\n", errors), errors
    assert not [path for path in (tmp_path / "results").rglob("*") if path.is_file() and path.name != ".lock"]


@contextmanager
def another_folder_at(path: Path) -> Iterator[None]:
    """Processes that are started meanwhile see an empty folder at a path, in a namespace of their own."""
    if os.geteuid():
        cannot_run("another folder at a path needs root")
    kernel, here = ctypes.CDLL(None, use_errno=True), Path.cwd()
    with Path("/proc/self/ns/mnt").open() as before:
        assert not kernel.unshare(_OWN_MOUNTS), os.strerror(ctypes.get_errno())
        try:
            subprocess.run(["mount", "--make-rprivate", "/"], check=True)
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", path], check=True)
            yield
        finally:
            assert not kernel.unshare(_OWN_PLACE), os.strerror(
                ctypes.get_errno()
            )  # threads begun meanwhile share it
            assert not kernel.setns(before.fileno(), _OWN_MOUNTS), os.strerror(ctypes.get_errno())
            os.chdir(here)


@pytest.mark.chaos
def test_a_node_that_joins_without_the_folder_trains_nothing_and_its_trial_goes_on_on_another_node(
    tmp_path: Path, cluster: Cluster
) -> None:
    (tmp_path / "space.yaml").write_text(SPACE)
    process, trial = start(tmp_path, tmp_path / "space.yaml", "--address", cluster.address)
    study = trial.parent.parent
    with another_folder_at(study):
        beyond = cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1")
    first = node_of(cluster, attempts(trial)[0]["process"])
    first.kill()
    first.wait()
    told = line_with("tried again elsewhere", process)
    wrong = f"--study {study} is not the same folder on 127.0.0.1 as where the search runs, or does not answer there"
    assert re.match(rf"trial 0: unshared on node [0-9a-f]{{8}}: {wrong}; it is tried again elsewhere", told)
    cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1")
    assert_ends_as_if_undisturbed(process, trial, tmp_path)
    raylet = beyond.all_processes["raylet"][0].process.pid
    assert not list(Path(f"/proc/{raylet}/root", *study.parts[1:]).iterdir())
    assert not list(study.glob(".seen*"))


def line_with(words: str, process: subprocess.Popen[str]) -> str:
    """The first line with some words that a search prints; one that prints none and hangs is killed."""
    killer = Timer(_HANG, process.kill)
    killer.start()
    assert process.stdout is not None
    found = next((line for line in process.stdout if words in line), "")
    killer.cancel()
    return found


def test_what_is_there_is_seen(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    assert unseen([str(tmp_path / "there")], 0) == []
    assert unseen([str(tmp_path / "there"), str(tmp_path / "not")], 0) == [str(tmp_path / "not")]


def test_a_search_leaves_nothing_in_its_folders(tmp_path: Path) -> None:
    with tokens_in({"--study": tmp_path}) as tokens:
        assert [Path(tokens["--study"])] == list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())
