"""What the search makes of a trial's end: real ledger, real journal."""

from __future__ import annotations

import errno
import multiprocessing
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from minbert.files import failpoints
from tests.no_room import no_room
from tests.trainables.commands import SPACE
from tests.trainables.test_ledger import open_ledger, record
from trainables.machines.elsewhere import TRIES, Elsewhere
from trainables.machines.placement import TrialResources
from trainables.running.searcher import LedgerSearcher
from trainables.running.successive_halving import SuccessiveHalving
from trainables.spaces.settings import EarlyStopping
from trainables.spaces.space import load_space
from trainables.studies.journal import JOURNAL
from trainables.studies.ledger import Issue
from trainables.studies.watcher import Watcher

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


def test_storage_that_fails_ends_the_search_and_no_trial(searcher: LedgerSearcher, tmp_path: Path) -> None:
    searcher.on_trial_complete("first", FULL | {"records": [record(1, 0.5)]})
    assert searcher.storage_failure == FULL["message"]
    assert searcher.suggest("second") == Searcher.FINISHED
    assert states(tmp_path) == ["RUNNING"]


def test_another_cause_is_the_trials_own(searcher: LedgerSearcher, tmp_path: Path) -> None:
    searcher.on_trial_complete("first", FULL | {"cause": "nan", "message": "the loss is nan"})
    assert (searcher.storage_failure, searcher.suggest("second")) == ("", {"n": 1})
    assert states(tmp_path) == ["FAIL", "RUNNING"]


def test_a_trial_whose_worker_is_lost_for_tune_is_issued_again_and_fails_in_the_end(
    searcher: LedgerSearcher, tmp_path: Path
) -> None:
    searcher.on_trial_complete("first", error=True)
    assert searcher.suggest("again") == {"n": 0}
    assert searcher.suggest("other") == {"n": 1}
    searcher.on_trial_complete("again", {"records": [record(1, 0.5)], "attempt": 2}, error=True)
    assert searcher.suggest("once more") == {"n": 0}
    searcher.on_trial_complete("once more", error=True)
    assert searcher.suggest("next") == {"n": 2}
    assert states(tmp_path) == ["FAIL", "RUNNING", "RUNNING"]


def test_losses_between_which_a_trial_got_on_do_not_add_up(searcher: LedgerSearcher, tmp_path: Path) -> None:
    name = "first"
    for epoch in range(1, TRIES + 2):
        searcher.on_trial_result(name, {"records": [record(epoch, 0.5)]})
        searcher.on_trial_complete(name, error=True)
        name = f"after epoch {epoch}"
        assert searcher.suggest(name) == {"n": 0}
    assert states(tmp_path) == ["RUNNING"]


def test_machines_on_which_no_worker_begins_a_trial_end_the_search_and_no_trial(tmp_path: Path) -> None:
    elsewhere = Elsewhere(TrialResources(1, 0), lambda line: None, list)
    searcher = LedgerSearcher(
        open_ledger(tmp_path, load_space(str(SPACE))),
        lambda issue: {"n": issue.number},
        elsewhere=elsewhere,
    )
    for _ in range(TRIES):
        assert elsewhere.stopped_by == ""
        assert searcher.suggest("first") == {"n": 0}
        searcher.on_trial_complete("first", error=True)
    assert elsewhere.stopped_by.startswith("trial 0: its workers ended again and again before it began: ")
    assert states(tmp_path) == ["RUNNING"]


def test_what_is_lost_or_turned_away_while_the_search_ends_stays_to_be_continued(
    searcher: LedgerSearcher, tmp_path: Path
) -> None:
    for _ in range(TRIES - 1):
        searcher.on_trial_complete("first", error=True)
        assert searcher.suggest("first") == {"n": 0}
    searcher.closing = True
    searcher.on_trial_complete("first", error=True)
    assert states(tmp_path) == ["RUNNING"]


def test_storage_that_fails_while_a_trial_is_handed_out_ends_the_search(tmp_path: Path) -> None:
    class Away(Watcher):
        def issued(self, issue: Issue) -> None:
            raise OSError(errno.ESTALE, "Stale file handle", "stages")

    ledger = open_ledger(tmp_path, load_space(str(SPACE)))
    searcher = LedgerSearcher(ledger, lambda issue: {"n": issue.number}, Away())
    assert searcher.suggest("first") == Searcher.FINISHED
    assert searcher.storage_failure == "stages: Stale file handle"


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


def test_storage_that_does_not_answer_within_a_write_leaves_a_journal_that_can_be_continued(
    searcher: LedgerSearcher, tmp_path: Path
) -> None:
    def away(*_: object) -> None:
        raise OSError(errno.ETIMEDOUT, "Connection timed out")

    assert searcher.suggest("second") == {"n": 1}
    with patch("os.fsync", away), patch("os.truncate", away):  # what was written may be there, or not
        searcher.on_trial_result("first", {"records": [record(1, 0.5)]})
    searcher.on_trial_result("second", {"records": [record(1, 0.4)]})  # it answers again while trials end
    assert "Connection timed out" in searcher.storage_failure
    assert states(tmp_path) == ["RUNNING", "RUNNING"]


def test_a_trial_that_is_to_be_stopped_is_stopped_also_by_the_driver_after_one_that_died(
    tmp_path: Path,
) -> None:
    study, armed = tmp_path / "study", tmp_path / "armed"
    study.mkdir()
    armed.mkdir()
    process = multiprocessing.get_context("fork").Process(target=die_while_stopping, args=(study, armed))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert states(study) == ["RUNNING"] * 3
    searcher, scheduler = start(study)
    decided = [report(searcher, scheduler, score) for score in (0.3, 0.9, 0.1)]
    assert decided == [TrialScheduler.CONTINUE, TrialScheduler.CONTINUE, TrialScheduler.STOP]
    assert states(study) == ["RUNNING", "RUNNING", "PRUNED"]


def die_while_stopping(study: Path, armed: Path) -> None:
    """Killed between the note of the epoch and that of its end."""
    searcher, scheduler = start(study)
    for score in (0.3, 0.9):
        report(searcher, scheduler, score)
    failpoints._ARMED = str(armed)
    (armed / "ledger.after_report").touch()
    report(searcher, scheduler, 0.1)


def start(study: Path) -> tuple[LedgerSearcher, SuccessiveHalving]:
    """What a driver begins with."""
    ledger = open_ledger(study, load_space(str(SPACE)))
    searcher = LedgerSearcher(ledger, lambda issue: {"n": issue.number})
    stopping = EarlyStopping(grace_epochs=1, reduction=2)
    return searcher, SuccessiveHalving(
        stopping, 9, ledger.histories(), ledger.stops(), searcher.number_of, searcher.stopping
    )


def report(searcher: LedgerSearcher, scheduler: SuccessiveHalving, score: float) -> str:
    """Issue a trial and pass its first epoch on as Tune does: the scheduler decides before the searcher notes it."""
    trial: Any = SimpleNamespace(trial_id=f"scored {score}")
    searcher.suggest(trial.trial_id)
    scheduler.on_trial_add(None, trial)
    result = {"epoch": 1, "score": score, "records": [record(1, score)]}
    decision = scheduler.on_trial_result(None, trial, result)  # type: ignore[arg-type]
    if decision == TrialScheduler.STOP:
        searcher.on_trial_complete(trial.trial_id, result | {"done": True})
    else:
        searcher.on_trial_result(trial.trial_id, result)
    return decision
