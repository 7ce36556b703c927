"""A growing file in a store whose objects cannot grow: its bytes as objects, each named by where it begins, and never changed."""

from __future__ import annotations

import errno
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from minbert.errors import UserError
from minbert.remote.object_store import ObjectStore

FOLDER = "journal"
_AT_ONCE = 16


class Segments:
    """The segments of a file in a store.

    Attributes:
        length: bytes of the file that are in the store, as far as this process knows.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.length = 0

    def fetch(self, known: bytes = b"") -> bytes:
        """The file's content.

        Args:
            known: its beginning, as it was fetched before; anything else is fetched again.

        Raises:
            UserError: a segment is missing, or not as it was written.
        """
        places = self._places()
        self.length = sum(places.values())
        have = len(known) if len(known) in {*places, self.length} else 0
        names = [(start, size) for start, size in places.items() if start >= have]
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            parts = list(threads.map(lambda place: self._store.read(_name(place[0])), names))
        for (start, size), part in zip(names, parts, strict=True):
            if part is None or len(part) != size:
                raise self._missing(start)
        return b"".join([known[:have], *(part for part in parts if part is not None)])

    def append(self, file: Path) -> None:
        """Send what the file has beyond the segments.

        Raises:
            OSError: the store is away, or somebody else has written on.
        """
        with file.open("rb") as opened:
            opened.seek(self.length)
            new = opened.read()
        if not new:
            return
        name = _name(self.length)
        if self._store.read(name) is not None:
            raise OSError(errno.EIO, "another search has taken the study over", self._store.url)
        self._store.write(name, new)
        self.length += len(new)

    def _places(self) -> dict[int, int]:
        """Size by beginning, in order."""
        found = {
            int(name.rpartition("/")[2]): stored.size
            for name, stored in self._store.names(FOLDER).items()
            if name.rpartition("/")[2].isdecimal()
        }
        places, end = dict(sorted(found.items())), 0
        for start, size in places.items():
            if start != end:
                raise self._missing(min(start, end))
            end = start + size
        return places

    def _missing(self, start: int) -> UserError:
        return UserError(
            f"{self._store.url}: {_name(start)} is missing or was changed, and nothing after it can be relied on; bring it "
            "back from a copy, or start with another --study"
        )


def _name(start: int) -> str:
    return f"{FOLDER}/{start:012d}"
