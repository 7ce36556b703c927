"""Of drivers that begin at once on a study in an object store exactly one goes on, in whatever order they come to ask it."""

from __future__ import annotations

import itertools
import json
import random
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from ray.tune.search import Searcher

from minbert.errors import UserError
from minbert.files.sealed import sealed_line
from minbert.remote.journal_segments import Segments, TakenOver
from minbert.remote.object_store import ObjectStore, Stored, open_store
from tests.trainables.commands import CommandLine
from tests.trainables.test_ledger import PINNED
from tests.trainables.test_status import TWO, driven, sent
from trainables.designs.sampler import build_sampler
from trainables.running.searcher import LedgerSearcher
from trainables.spaces.space import load_space
from trainables.studies import remote_lease
from trainables.studies.journal import open_journal
from trainables.studies.ledger import Ledger
from trainables.studies.remote_lease import FOLDER, HOLDS, leased
from trainables.studies.remote_study import RemoteStudy

_HANG = 60


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_lease, "_SECONDS_BETWEEN_LOOKS", 0.0)


class Turns:
    """Lets one driver at a time do one thing, in a given order and then by turns, until it has left."""

    def __init__(self, order: Sequence[int], drivers: int) -> None:
        self._order = itertools.chain(order, itertools.cycle(range(drivers)))
        self._changed, self._left = threading.Condition(), set[int]()
        self._drivers, self._now = drivers, next(self._order)

    @contextmanager
    def taken(self, driver: int) -> Iterator[None]:
        with self._changed:
            assert self._changed.wait_for(lambda: driver in (self._now, *self._left), _HANG)
            yield
            self._go_on()

    def leave(self, driver: int) -> None:
        with self._changed:
            self._left.add(driver)
            self._go_on()

    def _go_on(self) -> None:
        if len(self._left) < self._drivers:
            self._now = next(each for each in self._order if each not in self._left)
        self._changed.notify_all()


class Stepped(ObjectStore):
    """A store that a driver asks only when it is its turn."""

    turns: Turns
    driver: int

    def impatient(self) -> ObjectStore:
        return self

    def read(self, name: str) -> bytes | None:
        with self.turns.taken(self.driver):
            return super().read(name)

    def write(self, name: str, content: bytes) -> None:
        with self.turns.taken(self.driver):
            super().write(name, content)

    def names(self, folder: str = "") -> dict[str, Stored]:
        with self.turns.taken(self.driver):
            return super().names(folder)

    def delete(self, names: Sequence[str]) -> None:  # type: ignore[override]
        with self.turns.taken(self.driver):
            super().delete(names)


def begun_at_once(place: Path, order: Sequence[int], drivers: int) -> list[str]:
    """What becomes of drivers that begin at once: ``holds``, or why not; whoever holds the study does so to the end."""
    turns, all_told = Turns(order, drivers), threading.Barrier(drivers)
    told = [""] * drivers

    def drive(driver: int) -> None:
        store = open_store(place.as_uri())
        store.__class__ = Stepped
        assert isinstance(store, Stepped)
        store.turns, store.driver = turns, driver
        try:
            with leased(store):
                told[driver] = "holds"
                turns.leave(driver)
                all_told.wait(_HANG)
        except UserError as refused:
            told[driver] = str(refused)
            turns.leave(driver)
            all_told.wait(_HANG)

    threads = [threading.Thread(target=drive, args=(driver,), name=f"{driver}") for driver in range(drivers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_HANG)
    return told


@pytest.fixture
def named_by_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda size: threading.current_thread().name)


@pytest.mark.usefixtures("named_by_driver")
def test_of_two_drivers_that_begin_at_once_one_goes_on_whichever_does_what_first(tmp_path: Path) -> None:
    for order in itertools.product(range(2), repeat=7):
        told = begun_at_once(tmp_path / "study", order, 2)
        assert told.count("holds") == 1, (order, told)
        (refused,) = (each for each in told if each != "holds")
        assert ": in use by another search (host " in refused, (order, told)
        assert open_store((tmp_path / "study").as_uri()).names() == {}


@pytest.mark.usefixtures("named_by_driver")
def test_of_several_drivers_that_begin_at_once_one_goes_on(tmp_path: Path) -> None:
    chance = random.Random(0)
    for _ in range(25):
        order = [chance.randrange(4) for _ in range(30)]
        assert begun_at_once(tmp_path / "study", order, 4).count("holds") == 1, order


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store((tmp_path / "study").as_uri(), patience=0)


def say(store: ObjectStore, name: str, holds: bool) -> None:
    """Let another driver give a sign of life."""
    store.write(
        f"{FOLDER}/{name}",
        json.dumps({"host": "elsewhere", "process": 17, "machine": "another", HOLDS: holds}).encode(),
    )


FIRST, LAST = "!", "~"
"""Names before and after any that a driver draws."""


def test_one_that_asks_and_comes_first_is_given_way_to(store: ObjectStore) -> None:
    say(store, FIRST, holds=False)
    with (
        pytest.raises(UserError, match=r"in use by another search \(host elsewhere, process 17; its"),
        leased(store),
    ):
        pass
    assert set(store.names()) == {f"{FOLDER}/{FIRST}"}


def test_one_that_asks_and_comes_later_is_waited_for_until_it_has_gone(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(store, LAST, holds=False)
    said: list[str] = []
    store.on_waiting = said.append
    looks = iter(range(3))

    def look(seconds: float) -> None:
        if next(looks) == 2:
            store.delete([f"{FOLDER}/{LAST}"])

    monkeypatch.setattr(time, "sleep", look)
    with leased(store):
        assert list(looks) == []
    assert said == [
        f"{store.url}: another search (host elsewhere, process 17) begins there, too; it is waited for"
    ]


def test_one_that_asked_and_was_lost_is_not_waited_for_for_ever(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_lease, "STALE_SECONDS", 0.2)
    monkeypatch.setattr(remote_lease, "_SECONDS_BETWEEN_LOOKS", 0.05)
    say(store, LAST, holds=False)
    with leased(store):
        assert len(store.names()) == 1


class Slow(ObjectStore):
    """Between its look at the others and its word that it holds the study, this driver sleeps for long."""

    has_slept = False

    def write(self, name: str, content: bytes) -> None:
        if json.loads(content)[HOLDS] and not self.has_slept:
            self.has_slept = True
            self.delete([name])  # by one that took it for lost
            say(self, LAST, holds=True)
        super().write(name, content)


def test_a_driver_that_was_taken_for_lost_while_it_began_finds_its_successor(store: ObjectStore) -> None:
    store.__class__ = Slow
    with pytest.raises(UserError, match=r"in use by another search \(host elsewhere"), leased(store):
        pass
    assert set(store.names()) == {f"{FOLDER}/{LAST}"}


def test_a_driver_whose_word_is_cleared_away_while_it_looks_does_not_go_on(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ObjectStore.names

    def names(self: ObjectStore, folder: str = "") -> dict[str, Stored]:
        self.delete(real(self, folder))
        return real(self, folder)

    monkeypatch.setattr(ObjectStore, "names", names)
    with (
        pytest.raises(UserError, match="took this one, which gave no sign for 90 s, for lost"),
        leased(store),
    ):
        pass


def test_who_drives_says_that_it_holds_the_study(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_lease, "SECONDS_BETWEEN_SIGNS", 0.01)
    with leased(store):
        (name,) = store.names()
        first = store.names()[name]
        while store.names()[name].changed == first.changed:
            threading.Event().wait(0.01)
        assert json.loads(store.read(name) or b"")[HOLDS] is True


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A space, on a machine of its own."""
    monkeypatch.setenv("MINBERT_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "two.yaml"
    path.write_text(TWO)
    return path


def go_on(store: ObjectStore, place: Path) -> None:
    """Another search has taken the study over, and goes on with it."""
    other, journal = Segments(store), place / "journal of another search"
    journal.write_bytes(other.fetch() + sealed_line({"op_code": 2, "worker_id": "other"}) + b"\n")
    other.append(journal)


def test_a_driver_that_lost_its_study_while_it_slept_ends_when_it_would_note_something(
    store: ObjectStore, two: Path, tmp_path: Path
) -> None:
    remote, space = RemoteStudy(store), load_space(str(two))
    remote.path.mkdir(parents=True)
    journal = open_journal(remote.path, remote.appended)
    study = optuna.create_study(storage=journal, study_name="study", direction="maximize")
    study.sampler = build_sampler(space, 0, 0)
    searcher = LedgerSearcher(Ledger(study, space, PINNED, 0), lambda issue: {"n": issue.number})
    assert searcher.suggest("first") == {"n": 0}
    go_on(store, tmp_path)
    searcher.on_trial_complete("first", {"done": True, "cause": "nan", "message": ""})
    assert searcher.suggest("second") == Searcher.FINISHED
    assert isinstance(searcher.taken_over, TakenOver)


def test_a_search_whose_study_was_taken_over_says_so_and_not_to_give_the_command_again(
    search_command: CommandLine, two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torn = driven(tmp_path / "study", two)._study.ask()  # is closed, and that noted, before anything else
    assert torn.number == 0
    store, real = sent(tmp_path / "study", tmp_path), RemoteStudy._pull

    def pull(remote: RemoteStudy, *more: Any) -> None:
        real(remote, *more)
        go_on(store, tmp_path)

    monkeypatch.setattr(RemoteStudy, "_pull", pull)
    assert search_command("--space", str(two), "--study", store.url, "--seed", "0") == (
        3,
        f"error: {store.url}: another search has taken the study over; this one ends, what it has finished is kept; see "
        f"python -m trainables.status {store.url}\n",
    )
    assert store.names("drivers") == {}
