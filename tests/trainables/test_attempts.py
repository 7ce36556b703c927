"""Of two workers at one trial, the later one writes: real processes."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from minbert.remote.object_store import open_store
from trainables.running.remote_trial import RemoteTrial
from trainables.studies.attempts import FOLDER, claim

GHOST = """\
import sys, time
from pathlib import Path
from trainables.studies.attempts import claim
attempt = claim(Path(sys.argv[1]), "a")
with attempt.guarded():
    print(attempt.number, flush=True)
    time.sleep(600)  # an epoch that does not look
"""


def test_a_process_ends_when_a_later_start_takes_over_in_the_middle_of_its_epoch(tmp_path: Path) -> None:
    ghost = subprocess.Popen([sys.executable, "-c", GHOST, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert ghost.stdout is not None
    assert ghost.stdout.readline() == "1\n"
    time.sleep(0.1)
    assert ghost.poll() is None
    later = claim(tmp_path, "a")
    ghost.communicate(timeout=60)
    assert ghost.returncode == 1
    assert (later.number, later.superseded) == (2, False)


def test_each_start_has_a_number_of_its_own_even_where_several_come_at_once(tmp_path: Path) -> None:
    script = "import sys; from pathlib import Path; from trainables.studies.attempts import claim; sys.stdin.readline()\n"
    script += "print(*[claim(Path(sys.argv[1]), 'a').number for _ in range(100)])"
    command = [sys.executable, "-c", script, str(tmp_path)]
    racers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    numbers = [int(number) for racer in racers for number in racer.communicate("go\n")[0].split()]
    assert sorted(numbers) == list(range(1, 201))


def test_a_guard_that_was_left_ends_nothing(tmp_path: Path) -> None:
    """A worker goes on to other trials; one of its earlier ones may be started elsewhere by a later search."""
    with claim(tmp_path, "a").guarded():
        pass
    assert claim(tmp_path, "b").number == 2
    time.sleep(1.5)  # longer than between two looks


def test_only_starts_of_one_search_without_a_checkpoint_in_between_are_fruitless(tmp_path: Path) -> None:
    assert [claim(tmp_path, "a").fruitless for _ in range(3)] == [0, 1, 2]
    assert [claim(tmp_path, "b").fruitless for _ in range(2)] == [0, 1]
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "manifest.json").write_text('{"step": 7}')
    assert [claim(tmp_path, "b").fruitless for _ in range(2)] == [0, 1]


def test_a_worker_that_died_while_it_signed_took_its_number_and_speaks_not_against_the_trial(
    tmp_path: Path,
) -> None:
    claim(tmp_path, "a")
    (tmp_path / FOLDER / "0002").touch()
    third = claim(tmp_path, "a")
    assert (third.number, third.fruitless) == (3, 1)


STRAY = ("README", ".nfs000012", "0007.tmp", "7", "٠٠٠٧", "-0007", "0" * 200)


def test_what_is_no_number_is_passed_over_where_starts_sign(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    for name in STRAY:
        (tmp_path / FOLDER / name).write_text("somebody's")
    (tmp_path / FOLDER / "old").mkdir()
    first = claim(tmp_path, "a")
    assert (first.number, first.fruitless, first.superseded) == (1, 0, False)
    second = claim(tmp_path, "a")
    assert (second.number, second.fruitless, second.superseded) == (2, 1, False)
    assert first.superseded


def test_a_number_that_was_left_out_hides_no_later_start(tmp_path: Path) -> None:
    first = claim(tmp_path, "a")
    (tmp_path / FOLDER / "9999").touch()
    later = claim(tmp_path, "a")
    assert (later.number, later.fruitless) == (10_000, 1)
    assert (first.superseded, later.superseded) == (True, False)


def test_what_is_no_number_is_passed_over_in_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store((tmp_path / "study").as_uri())
    for name in (*STRAY, "old/0005", "old/README"):
        store.write(f"trials/00000/{FOLDER}/{name}", b"somebody's")
    trials = []
    for machine in ("one", "another"):
        monkeypatch.setenv("MINBERT_CACHE", str(tmp_path / machine))
        trials.append(RemoteTrial(store.url, "trials/00000"))
        assert trials[-1].claim("start").number == len(trials)
    assert [trial._superseded(store) for trial in trials] == [True, False]


def test_a_process_that_was_given_up_ends_before_it_writes(tmp_path: Path) -> None:
    first, context = claim(tmp_path, "a"), multiprocessing.get_context("fork")
    for later, expected in ((False, 0), (True, 1)):
        if later:
            claim(tmp_path, "a")
        writer = context.Process(target=first.before_writing)
        writer.start()
        writer.join(60)
        assert writer.exitcode == expected


ORPHANED = """\
import os, sys, time
from pathlib import Path
from trainables.studies.attempts import claim
if os.fork():
    time.sleep(600)
with claim(Path(sys.argv[1]), "a").guarded():
    print(os.getpid(), flush=True)
    time.sleep(600)
"""


def test_a_process_ends_once_its_parent_is_dead(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", ORPHANED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    orphan = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    try:
        wait_until_gone(orphan)
    finally:
        if orphan.is_running():
            orphan.kill()


def wait_until_gone(process: psutil.Process) -> None:
    """The bound only catches a hang."""
    for _ in range(300):
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.1)
    raise AssertionError("it goes on")
