"""A trial of a study in an object store, on the worker: fetched before it starts, sent whenever it has kept something.

A worker that was given up may still run. So every start of a trial takes a number, in the store, too; before anything
counts there the worker looks whether it is still the last one, and ends its process when it is not.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from minbert.errors import UserError
from minbert.files.durable import exclusive
from minbert.now import NOW
from minbert.remote.mirror import Mirror, Published, read_published
from minbert.remote.object_store import ObjectStore, open_store
from minbert.remote.sealed_copies import fetch_sealed
from minbert.remote.working_copy import working_copy
from minbert.time_limits import TIMEOUT
from trainables.running.trial_copies import TrialCopy, clear_copies
from trainables.studies.attempts import FOLDER, Attempt, claim, kept_mark, number_of

_SECONDS_BETWEEN_LOOKS = 10.0
_PATIENCE_SECONDS = 60  # for a process on this machine that works on the trial and is about to end
_FETCHING_SECONDS = 3600  # for another process that fetches what all trials of this machine need


class RemoteTrial:
    """One start of a trial whose folder is a copy of what lies in a store.

    Args:
        url: of the study.
        name: of the trial's folder in it.

    Attributes:
        folder: the copy on this machine.
    """

    def __init__(self, url: str, name: str) -> None:
        try:
            self._store = open_store(url)
        except UserError as error:  # the driver could use it: that is no failure of the trial's
            raise OSError(errno.EIO, str(error), url) from None
        self._looks = self._store.impatient()
        self._name = name
        self.folder = working_copy(url) / name
        self._copy = TrialCopy(self.folder)
        self._mirror = Mirror(self._store, name, self.folder, _is_apart)
        self._attempt: Attempt | None = None

    def claim(self, start: str, node: str = "") -> Attempt:
        """Take the next number and fetch what earlier starts have kept; send what they could not send from here.

        Args:
            start: names the driver's start.
            node: Ray's name of the node that this is on.

        Raises:
            OSError: the store is away, or refuses.
            Held: another process of this machine still works on the trial.
        """
        clear_copies(self.folder, self._is_needed)
        with self._copy.being_taken():
            attempt = self._take_number(start, node)
            self._copy.hold(_PATIENCE_SECONDS)  # whoever still had it saw the number, and ended
        with suppress(FileNotFoundError):
            self._store.download(f"{self._name}/{TIMEOUT}", self.folder / TIMEOUT)
        if self._copy.unsent == _state(read_published(self._store, self._name)) and self._copy.is_whole():
            self._mirror.look()
            self.publish()
        else:
            self._copy.forget_unsent()
            self._mirror.pull()
        return attempt

    def _take_number(self, start: str, node: str) -> Attempt:
        (self.folder / FOLDER).mkdir(parents=True, exist_ok=True)
        for name in self._numbers(self._store):
            self._store.download(f"{self._name}/{FOLDER}/{name}", self.folder / FOLDER / name)
        manifest = read_published(self._store, self._name).files.get("checkpoint/manifest.json")
        while True:
            self._attempt = claim(self.folder, start, kept_mark(manifest.sha256 if manifest else ""), node)
            self._store.upload(self._attempt.file, self._own)
            if not self._superseded(self._store):
                return self._attempt

    def publish(self) -> None:
        """Send what changed; a worker that was given up does not return from it.

        Raises:
            OSError: the store is away, or refuses.
        """
        assert self._attempt is not None
        with self._copy.being_sent(_state(self._mirror.published)):
            self._end_if_superseded(self._store)
            self._mirror.publish(self._attempt.number, lambda: self._end_if_superseded(self._store))

    def send_timeout(self, note: str) -> None:
        """Let the trial's next start, wherever that is, know which time limit ended this one."""
        with suppress(OSError):  # a store that is away: then the next start on this machine knows
            if not self._superseded(self._store):
                self._store.write(f"{self._name}/{TIMEOUT}", note.encode())

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look now and then whether a later start took over."""
        over = threading.Event()

        def look() -> None:
            while not over.wait(_SECONDS_BETWEEN_LOOKS):
                with suppress(OSError):  # a store that is away tells nothing
                    self._end_if_superseded(self._looks)

        threading.Thread(target=look, name=f"looks for {self._name}", daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def let_go(self) -> None:
        """Remove the copy, once; what the store does not have of it stays for the trial's next start on this machine."""
        if self._copy.is_held:
            assert self._attempt is not None
            self._copy.let_go(remove=not self._attempt.superseded and self._copy.unsent is None)

    def _is_needed(self, copy: TrialCopy) -> bool:
        """Whether a copy holds what the store lacks; another study's store is not asked."""
        if copy.unsent is None or copy.folder.parent != self.folder.parent:
            return copy.unsent is not None
        name = f"{self._name.rpartition('/')[0]}/{copy.folder.name}"
        return copy.unsent == _state(read_published(self._looks, name))

    @property
    def _own(self) -> str:
        """The object that stands for this start."""
        assert self._attempt is not None
        return f"{self._name}/{FOLDER}/{self._attempt.file.name}"

    def _numbers(self, store: ObjectStore) -> list[str]:
        """The names with which starts have signed; anything else that lies there is passed over."""
        place = f"{self._name}/{FOLDER}"
        names = (name.removeprefix(f"{place}/") for name in store.names(place))
        return [name for name in names if number_of(name)]

    def _superseded(self, store: ObjectStore) -> bool:
        """Whether a later start, or another one that took the same number after us, is in the store."""
        assert self._attempt is not None
        if self._attempt.is_superseded_by(self._numbers(store)):
            return True
        return store.read(self._own) != self._attempt.file.read_bytes()

    def _end_if_superseded(self, store: ObjectStore) -> None:
        if self._superseded(store):
            os._exit(1)


def fetch_materials(url: str, corpus: str, encoder: str) -> None:
    """Bring what all trials of a study need here, once a machine; whoever opens it says what is wrong with it.

    Args:
        url: of the study.
        corpus, encoder: names of the folders in it.
    """
    store, root = open_store(url), working_copy(url)
    root.mkdir(parents=True, exist_ok=True)
    with exclusive(root / ".fetching", _FETCHING_SECONDS):
        for name in (corpus, encoder):
            fetch_sealed(store, name, root / name, Path(name).name)


def _state(published: Published) -> str:
    """Names what the store has of a trial."""
    files = sorted((name, content.sha256) for name, content in published.files.items())
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def _is_apart(name: str) -> bool:
    """Who started the trial, and that it hung, is told as it happens; what it does just now is told here alone."""
    return name.startswith(f"{FOLDER}/") or name in (TIMEOUT, NOW)
