"""A study in an object store, on the driver: a working copy on its disk, and the store as the place that outlives it.

The working copy holds what a study folder holds, except for the trials, which workers fetch and send themselves. The
journal goes up before anything is done that relies on it, so that a new driver on another machine goes on from there.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minbert.checkpoint import ENCODER_FILES, EncoderFiles
from minbert.errors import UserError, cut
from minbert.files.durable import publish_folder
from minbert.files.leftovers import beside
from minbert.files.sealed import is_intact
from minbert.files.yaml_dialect import shorten
from minbert.remote.journal_segments import FOLDER as SEGMENTS
from minbert.remote.journal_segments import Segments
from minbert.remote.mirror import Mirror
from minbert.remote.object_store import ObjectStore, check_reachable, open_store
from minbert.remote.sealed_copies import send_sealed
from minbert.remote.urls import below, is_url
from minbert.remote.working_copy import reading_copy, working_copy
from trainables.studies.attempts import FOLDER as ATTEMPTS
from trainables.studies.locks import LOCK, locked
from trainables.studies.remote_lease import FOLDER as DRIVERS
from trainables.studies.remote_lease import leased

if TYPE_CHECKING:  # slow to import: optuna
    from optuna.trial import FrozenTrial

STUDY, JOURNAL = "study.yaml", "journal.log"
_OF_TRIAL = re.compile(r"trials/(\d{5,9})/(checkpoint|best|\.kept/[^/]+)/", re.ASCII)
_WHOLE, _ENDED = 8, 6
"""Optuna's numbers for a trial's attribute, the last of which makes it whole, and for its end."""


class RemoteStudy:
    """A study in a store.

    Args:
        store: below the study's URL.
        option: of the command line that names it.

    Attributes:
        url: of the study.
        path: the working copy.
    """

    def __init__(self, store: ObjectStore, option: str = "--study") -> None:
        self.store, self.url, self._option = store, store.url, option
        self.path = working_copy(store.url)
        self._segments = Segments(store)

    def described(self) -> Path:
        """A folder with study.yaml alone, where there is a study; no search works there."""
        folder = reading_copy(self.url)
        try:
            self.store.download(STUDY, folder / STUDY)
        except FileNotFoundError:
            (folder / STUDY).unlink(missing_ok=True)
        return folder

    @contextmanager
    def held(self, say: Callable[[str], None]) -> Iterator[None]:
        """Hold the study for this driver and bring the working copy to where the store is.

        Args:
            say: prints a line for the user, when the store does not answer.

        Raises:
            UserError: another driver holds it, or what lies there is no study.
        """
        self.store.on_waiting = say
        with self.named(), locked(self.path, self._option), leased(self.store, self._option):
            self._pull(say)
            yield

    @contextmanager
    def named(self) -> Iterator[None]:
        """Let messages name the study by its URL, as the user did, in place of the working copy."""
        try:
            yield
        except UserError as error:
            raise UserError(str(error).replace(str(self.path), self.url)) from None

    def describe(self) -> None:
        """Send study.yaml."""
        self.store.upload(self.path / STUDY, STUDY)

    def appended(self, journal: Path, records: Sequence[Mapping[str, Any]]) -> None:
        """Send the journal where somebody is about to act on what was appended: a trial is whole, or has ended."""
        if any(
            record["op_code"] == _ENDED
            or (record["op_code"] == _WHOLE and "config_id" in record.get("user_attr", {}))
            for record in records
        ):
            self._segments.append(journal)

    def share(self, folder: Path) -> None:
        """Send a sealed folder of the working copy for the workers."""
        send_sealed(self.store, folder, self.name_of(folder))

    def share_encoder(self, encoder: EncoderFiles) -> Path:
        """Send the encoder; returns the folder in the working copy that workers take it from."""
        folder = self.path / "encoder" / encoder.fingerprint[:24]
        if not is_intact(folder, folder.name):
            folder.parent.mkdir(exist_ok=True)
            with publish_folder(folder, of=folder.name) as temporary:
                for name in ENCODER_FILES:
                    if (encoder.folder / name).is_file():
                        shutil.copyfile(encoder.folder / name, temporary / name)
        self.share(folder)
        return folder

    def drop(self, number: int, folders: Iterable[str]) -> None:
        """Drop folders of a trial that has ended."""
        name = f"trials/{number:05d}"
        several = len(self.store.names(f"{name}/{ATTEMPTS}")) > 1
        Mirror(self.store, name, self.path / name).drop(set(folders), anew=several)

    def with_models(self, trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
        """Those of the trials of which there is a checkpoint or a model, or what a start kept that was given up."""
        found = (_OF_TRIAL.match(name) for name in self.store.names("trials"))
        parts = {(int(each[1]), each[2]) for each in found if each}
        has_model = {number for number, part in parts if not part.startswith(".")}
        starts = Counter(number for number, part in parts if part.startswith("."))
        return [trial for trial in trials if trial.number in has_model or starts[trial.number] > 1]

    def has_model(self, number: int) -> bool:
        """Whether a trial's model was kept."""
        return bool(self.store.names(f"trials/{number:05d}/best"))

    def send_journal(self) -> None:
        """Send what this machine's journal has beyond the store's; the journal has been opened, so its end is whole."""
        if (self.path / JOURNAL).is_file():
            self._segments.append(self.path / JOURNAL)

    def close(self) -> None:
        """Send the rest of the journal, and all of it under its own name, for whoever copies the study as it lies there."""
        self.send_journal()
        journal = self.path / JOURNAL
        if journal.is_file():
            self.store.upload(journal, JOURNAL)
        self.store.delete(self.store.names("tune"))

    def keep_report(self, *files: Path) -> None:
        """Send a report that was written elsewhere."""
        for file in files:
            self.store.upload(file, file.name)

    def place(self, name: str) -> str:
        """The URL of what lies in the study."""
        return below(self.url, name)

    def name_of(self, path: Path) -> str:
        """Name in the store of what lies in the working copy."""
        return path.relative_to(self.path).as_posix()

    def _pull(self, say: Callable[[str], None]) -> None:
        content = self.store.read(STUDY)
        if content is None:
            self.refuse_other_objects()
            for entry in self.path.iterdir():
                _remove(entry)  # of a study that was removed from the store
            return
        (self.path / STUDY).write_bytes(content)
        journal = self.path / JOURNAL
        known = journal.read_bytes() if journal.is_file() else b""
        whole = self._segments.restore(known, say)
        if not whole and self.store.names("trials"):
            raise UserError(
                f"{self.url}: {SEGMENTS}/ is gone, but trials/ holds trials, of which it is the only account; bring it back "
                f"from a copy, or start with another {self._option}"
            )
        if not known.startswith(whole):  # what goes on from there was not relied on yet, and stays
            temporary = beside(journal, "tmp")
            temporary.write_bytes(whole)
            os.replace(temporary, journal)

    def refuse_other_objects(self) -> None:
        """Refuse a place that holds something and no study.

        Raises:
            UserError: it does.
        """
        others = sorted(name for name in self.store.names() if not name.startswith(f"{DRIVERS}/"))
        if others:
            name = cut(others[0]) if others[0].isprintable() else shorten(others[0])
            raise UserError(
                f"{self._option} {self.url}: holds other things ({name}) and no study; choose another place"
            )


def open_remote(place: str, option: str = "--study") -> RemoteStudy | None:
    """The study that a URL names; None where it is a path.

    Raises:
        UserError: it is no URL that can be used, its bucket is not there, or is not open to us.
        OSError: the store is away.
    """
    if not is_url(place):
        return None
    store = open_store(place, option)
    check_reachable(store, option)
    return RemoteStudy(store, option)


def _remove(entry: Path) -> None:
    if entry.name == LOCK:
        return
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)
