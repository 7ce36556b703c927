"""A stage store in an object store, with a copy on this machine of what was taken or made here."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence, Set
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

from minbert.errors import TrainingFailure, UserError
from minbert.files.sealed import CHECKSUMS
from minbert.files.yaml_dialect import shorten
from minbert.remote.object_store import ObjectStore, Stored, open_store
from minbert.remote.sealed_copies import fetch_sealed, send_sealed
from minbert.remote.urls import is_url
from minbert.remote.working_copy import working_copy
from minbert.stages import FAILURE, LocalStageStore, StageState

_SECONDS_BETWEEN_LOOKS = 2.0
_ABANDONED = timedelta(days=1)
_ENTRY = ("manifest.json", "state.safetensors", CHECKSUMS)


class MirroredStageStore(LocalStageStore):
    """A stage store whose entries lie in an object store; what is missing here is fetched, what is made here is sent.

    Args:
        store: where the entries lie.
        folder: the copy here.
        room: bytes that the copy may take.
    """

    def __init__(self, store: ObjectStore, folder: Path, room: float) -> None:
        super().__init__(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._store, self._room = store, room
        self._listed: dict[str, Stored] = {}
        self._look_again = 0.0
        self._not_whole = set[str]()

    def get(self, key: str) -> StageState | None:
        found = super().get(key)
        if found is None:
            if not fetch_sealed(self._store, key, self.folder / key, key):
                self._not_whole.add(key)
                return None
            self._not_whole.discard(key)
            found = super().get(key)
            super().collect(self._room, {key})
        elif (
            f"{key}/{CHECKSUMS}" not in self._names()
        ):  # whoever made it ended before it was sent, or the store lost it
            self._send(key)
        return found

    def has(self, key: str) -> bool:
        return super().has(key) or f"{key}/{CHECKSUMS}" in self._names()

    def put(self, key: str, state: StageState) -> None:
        super().put(key, state)
        self._send(key)
        super().collect(self._room, {key})

    def failure(self, key: str) -> TrainingFailure | None:
        told = self._store.read(f"{key}{FAILURE}")
        if told is not None:
            self._failure_file(key).write_bytes(told)
        failure = super().failure(key)
        if told is None and failure is not None:  # noted here, and not sent
            self._store.upload(self._failure_file(key), f"{key}{FAILURE}")
        return failure

    def put_failure(self, key: str, failure: TrainingFailure) -> None:
        super().put_failure(key, failure)
        self._store.upload(self._failure_file(key), f"{key}{FAILURE}")

    def collect(self, room: float, needed: Set[str] = frozenset()) -> int:
        """Remove what is oldest, as nothing in an object store says when it was used last; the copy here follows.

        What was sent or removed in part goes, too, once it is old.
        """
        super().collect(room, needed)
        entries: dict[str, list[str]] = {}
        listed = self._names()
        for name in listed:
            key, _, part = name.partition("/")
            if part in _ENTRY:
                entries.setdefault(key, []).append(name)
        self._clear_parts(entries, listed)
        whole = {key: names for key, names in entries.items() if f"{key}/{CHECKSUMS}" in names}
        total, removed = sum(listed[name].size for names in whole.values() for name in names), 0
        for key in sorted(whole, key=lambda key: listed[f"{key}/{CHECKSUMS}"].changed):
            if total <= room:
                break
            if key not in needed:
                seal = f"{key}/{CHECKSUMS}"  # first: without it the rest is nothing to anybody
                self._store.delete([seal, *(name for name in whole[key] if name != seal)])
                self._look_again, removed = 0.0, removed + 1
                total -= sum(listed[name].size for name in whole[key])
        return removed

    def _clear_parts(self, entries: Mapping[str, Sequence[str]], listed: Mapping[str, Stored]) -> None:
        """Remove what lacks its seal, and nobody is about to send any more."""
        for key, names in entries.items():
            age = datetime.now(UTC) - max(listed[name].changed for name in names)
            if f"{key}/{CHECKSUMS}" not in names and age > _ABANDONED:
                self._store.delete(names)

    def size(self, key: str) -> int:
        listed = self._names()
        return sum(listed[name].size for name in (f"{key}/{part}" for part in _ENTRY) if name in listed)

    def sizes(self) -> dict[str, int]:
        keys = (str(PurePosixPath(name).parent) for name in self._names() if name.endswith(f"/{CHECKSUMS}"))
        return {key: self.size(key) for key in keys}

    def _send(self, key: str) -> None:
        send_sealed(self._store, self.folder / key, key, anew=key in self._not_whole)
        self._not_whole.discard(key)
        self._look_again = 0.0

    def _names(self) -> dict[str, Stored]:
        """What lies in the store, looked at now and then."""
        if time.monotonic() >= self._look_again:
            self._listed = self._store.names()
            self._look_again = time.monotonic() + _SECONDS_BETWEEN_LOOKS
        return self._listed


def open_stages(place: str, room: float) -> LocalStageStore:
    """The stage store of a folder or a URL.

    Args:
        place: the folder or the URL.
        room: bytes that the copy on this machine of a URL's stages may take.
    """
    if is_url(place):
        return MirroredStageStore(open_store(place, "--stages"), working_copy(place), room)
    return LocalStageStore(Path(place))


def refuse_other_objects(store: ObjectStore, said: str) -> None:
    """Refuse a URL below which something else than stages lies, as a store removes what it has no room for.

    Raises:
        UserError: it does.
    """
    for name in sorted(store.names()):
        parts = PurePosixPath(name).parts
        if not (len(parts) == 2 and parts[1] in _ENTRY) and not (len(parts) == 1 and name.endswith(FAILURE)):
            known = "name a new place, or one that only holds stages"
            raise UserError(f"{said} {store.url}: {shorten(name)} is not a stage: {known}")
