"""What the search makes of a trial's end: real ledger, real journal."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ray.tune.search import Searcher

from tests.trainables.commands import SPACE
from tests.trainables.test_ledger import open_ledger, record
from trainables.journal import JOURNAL
from trainables.searcher import LedgerSearcher
from trainables.spaces import load_space

FULL = {"cause": "storage", "message": "disk: No space left on device", "attempt": 1, "done": True}


@pytest.fixture
def searcher(tmp_path: Path) -> LedgerSearcher:
    """A search with one trial under way, ``first``."""
    searcher = LedgerSearcher(
        open_ledger(tmp_path, load_space(str(SPACE))), lambda issue: {"n": issue.number}
    )
    assert searcher.suggest("first") == {"n": 0}
    return searcher


def states(folder: Path) -> list[str]:
    """As the next driver finds them."""
    ledger = open_ledger(folder, load_space(str(SPACE)))
    return [trial.state.name for trial in ledger.trials()]


@contextmanager
def no_room(file: Path) -> Iterator[None]:
    """Nothing of this process fits on the disk beyond ten more bytes of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 10, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_storage_that_fails_ends_the_search_and_no_trial(searcher: LedgerSearcher, tmp_path: Path) -> None:
    searcher.on_trial_complete("first", FULL | {"records": [record(1, 0.5)]})
    assert searcher.storage_failure == FULL["message"]
    assert searcher.suggest("second") == Searcher.FINISHED
    assert states(tmp_path) == ["RUNNING"]


def test_another_cause_is_the_trials_own(searcher: LedgerSearcher, tmp_path: Path) -> None:
    searcher.on_trial_complete("first", FULL | {"cause": "nan", "message": "the loss is nan"})
    assert (searcher.storage_failure, searcher.suggest("second")) == ("", {"n": 1})
    assert states(tmp_path) == ["FAIL", "RUNNING"]


def test_a_journal_that_cannot_be_written_ends_the_search_and_stays_whole(
    searcher: LedgerSearcher, tmp_path: Path
) -> None:
    journal = tmp_path / JOURNAL
    before = journal.read_bytes()
    with no_room(journal):
        searcher.on_trial_complete("first", {"done": True, "finished": True, "records": [record(1, 0.5)]})
    assert "File too large" in searcher.storage_failure
    assert searcher.suggest("second") == Searcher.FINISHED
    assert journal.read_bytes() == before
    assert states(tmp_path) == ["RUNNING"]
