"""A trial of a study in an object store, on the worker: fetched before it starts, sent whenever it has kept something.

A worker that was given up may still run. So every start of a trial takes a number, in the store, too; before anything
counts there the worker looks whether it is still the last one, and ends its process when it is not.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from minbert.errors import UserError
from minbert.files.durable import exclusive
from minbert.remote.mirror import Mirror, read_published
from minbert.remote.object_store import ObjectStore, open_store
from minbert.remote.sealed_copies import fetch_sealed
from minbert.remote.working_copy import working_copy
from minbert.time_limits import TIMEOUT
from trainables.studies.attempts import FOLDER, Attempt, claim, kept_mark

_SECONDS_BETWEEN_LOOKS = 10.0
_PATIENCE_SECONDS = 60  # for a process on this machine that works on the trial and is about to end
_FETCHING_SECONDS = 3600  # for another process that fetches what all trials of this machine need


class RemoteTrial:
    """One start of a trial whose folder is a copy of what lies in a store.

    Args:
        url: of the study.
        name: of the trial's folder in it.
        ending: name of the object whose appearance asks all trials to end.

    Attributes:
        folder: the copy on this machine.
    """

    def __init__(self, url: str, name: str, ending: str) -> None:
        try:
            self._store = open_store(url)
        except UserError as error:  # the driver could use it: that is no failure of the trial's
            raise OSError(errno.EIO, str(error), url) from None
        self._looks = self._store.impatient()
        self._name, self._ending = name, ending
        self.folder = working_copy(url) / name
        self._mirror = Mirror(self._store, name, self.folder, _is_apart)
        self._attempt: Attempt | None = None
        self._asked_to_end = False
        self._ending_here = working_copy(url) / ending

    def claim(self, start: str) -> Attempt:
        """Take the next number and fetch what earlier starts have kept.

        Args:
            start: names the driver's start.

        Raises:
            OSError: the store is away, or refuses.
            Held: another process of this machine still works on the trial.
        """
        (self.folder / FOLDER).mkdir(parents=True, exist_ok=True)
        for name in self._numbers(self._store):
            self._store.download(f"{self._name}/{FOLDER}/{name}", self.folder / FOLDER / name)
        manifest = read_published(self._store, self._name).files.get("checkpoint/manifest.json")
        while True:
            self._attempt = claim(self.folder, start, kept_mark(manifest.sha256 if manifest else ""))
            self._store.upload(self._attempt.file, self._own)
            if not self._superseded(self._store):
                break
        with exclusive(self.folder / ".lock", _PATIENCE_SECONDS):
            self._mirror.pull()
        return self._attempt

    def publish(self) -> None:
        """Send what changed; a worker that was given up does not return from it.

        Raises:
            OSError: the store is away, or refuses.
        """
        self._end_if_superseded(self._store)
        self._mirror.publish(lambda: self._end_if_superseded(self._store))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look now and then whether all trials are asked to end, and whether a later start took over."""
        over = threading.Event()

        def look() -> None:
            while not over.wait(_SECONDS_BETWEEN_LOOKS):
                with suppress(OSError):  # a store that is away tells nothing
                    self._end_if_superseded(self._looks)
                    self._asked_to_end = self._asked_to_end or self._looks.read(self._ending) is not None

        threading.Thread(target=look, name=f"looks for {self._name}", daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def is_asked_to_end(self) -> bool:
        """Whether the search ends; on the driver's own machine that shows at once."""
        return self._asked_to_end or self._ending_here.exists()

    def let_go(self) -> None:
        """Remove the copy, as the store has all of it."""
        if self._attempt is not None and not self._attempt.superseded:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _own(self) -> str:
        """The object that stands for this start."""
        assert self._attempt is not None
        return f"{self._name}/{FOLDER}/{self._attempt.file.name}"

    def _numbers(self, store: ObjectStore) -> list[str]:
        return [name.rpartition("/")[2] for name in store.names(f"{self._name}/{FOLDER}")]

    def _superseded(self, store: ObjectStore) -> bool:
        """Whether a later start, or another one that took the same number after us, is in the store."""
        assert self._attempt is not None
        if any(name > self._attempt.file.name for name in self._numbers(store)):
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


def _is_apart(name: str) -> bool:
    """Who started the trial is told as it happens; that it hung, on its own machine alone."""
    return name.startswith(f"{FOLDER}/") or name == TIMEOUT
