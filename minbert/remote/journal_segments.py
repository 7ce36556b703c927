"""A growing file in a store whose objects cannot grow: its lines in pieces, which are never changed.

A piece is named by where it begins, who wrote it, how many lines it has, the checksum of the piece before it and its own,
which covers all of these. So a damaged one is found, also one that belongs elsewhere, and what a driver sent that has
been replaced since lies under a name of its own and counts for nothing: the pieces that lead to the last one of the last
driver are the file. Every driver takes a number before it writes, and looks after each piece whether there is a higher
one before anybody acts on it.
"""

from __future__ import annotations

import errno
import hashlib
import io
import re
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from minbert.errors import UserError
from minbert.files.sealed import sealed_line, unsealed_line
from minbert.remote.object_store import ObjectStore

FOLDER = "journal"
TAKEOVERS = "takeovers"
"""Folder in which drivers take their numbers."""
_AT_ONCE = 16
_NOTHING = 16 * "0"
_NAME = re.compile(r"(\d{12,15})-(\d{4,9})-(\d{1,9})-([0-9a-f]{16})-([0-9a-f]{16})", re.ASCII)
_NUMBER = re.compile(r"(\d{4,9})-[0-9a-f]{8}", re.ASCII)
_RELIED_ON = "and nothing after it can be relied on; bring it back from a copy, or start with another --study"


@dataclass(frozen=True)
class _Piece:
    """One object: where it begins, its driver's number, its lines, and the checksums of the one before it and its own."""

    start: int
    driver: int
    lines: int
    before: str
    sum: str
    size: int

    @classmethod
    def of(cls, start: int, driver: int, before: str, content: bytes) -> _Piece:
        lines = len(_lines(content))
        return cls(start, driver, lines, before, _sum(start, driver, lines, before, content), len(content))

    @property
    def name(self) -> str:
        return f"{FOLDER}/{self.start:012d}-{self.driver:04d}-{self.lines}-{self.before}-{self.sum}"

    def fits(self, content: bytes | None) -> bool:
        """Whether that is what was written."""
        return content is not None and self.sum == _sum(
            self.start, self.driver, self.lines, self.before, content
        )

    def within(self, file: bytes) -> bytes:
        """So many lines of a file as it has, from where it begins."""
        return b"".join(_lines(file[self.start :], self.lines))


class TakenOver(OSError):
    """Another driver goes on with a file that this one held."""

    def __init__(self, url: str) -> None:
        super().__init__(errno.EIO, "another search has taken the study over", url)


class Segments:
    """The pieces of a file in a store, for one driver or one reader."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._length, self._last = 0, _NOTHING
        self._found = ""
        self._number = 0
        self._chance = secrets.token_hex(4)

    def fetch(self, known: bytes = b"") -> bytes:
        """The file's content, to be read only.

        Args:
            known: what was fetched before; what fits is not asked for again.

        Raises:
            UserError: a piece is missing, or more of it is damaged than its last record.
        """

        def content(piece: _Piece) -> bytes | None:
            had = known[piece.start : piece.start + piece.size]
            return had if piece.fits(had) else self._store.read(piece.name)

        return self._joined(content, lambda line: None)

    def restore(self, known: bytes, say: Callable[[str], None]) -> bytes:
        """The file's content, for the driver that goes on with it; all of it is looked at.

        Args:
            known: what this machine has of it; where a damaged piece is whole in there, that is sent again.
            say: prints a line for the user.

        Raises:
            UserError: a piece is missing, or more of it is damaged than its last record.
        """

        def content(piece: _Piece) -> bytes | None:
            found = self._store.read(piece.name)
            if not piece.fits(found) and piece.fits(piece.within(known)):
                found = piece.within(known)
                self._store.write(piece.name, found)
                say(f"{self._store.url}: {piece.name} was damaged; it is sent again from this machine's copy")
            return found

        return self._joined(content, say)

    def append(self, file: Path) -> None:
        """Send what the file has beyond the pieces.

        Raises:
            TakenOver: another driver goes on with it.
            OSError: the store is away.
        """
        with file.open("rb") as opened:
            opened.seek(self._length)
            new = opened.read()
        if new:
            if not self._number:
                self._take_number()
            piece = _Piece.of(self._length, self._number, self._last, new)
            self._store.asking(self._refuse_if_replaced).write(piece.name, new)
        if self._number:
            self._refuse_if_replaced()
        if new:
            self._length, self._last = self._length + len(new), piece.sum

    def _joined(self, content: Callable[[_Piece], bytes | None], say: Callable[[str], None]) -> bytes:
        """The pieces that count, one after the other; of the last one what its damage has left."""
        (pieces, others), parts = self._pieces(), list[bytes]()
        self._length, self._last = 0, _NOTHING
        self._found = pieces[-1].name if pieces else ""
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            contents = list(threads.map(content, pieces))
        for piece, found in zip(pieces, contents, strict=True):
            if piece.start != self._length:
                raise self._damaged(piece.name, "does not begin where the one before it ends")
            if found is None or not piece.fits(found):
                if piece is not pieces[-1] or any(other.start >= piece.start for other in others):
                    raise self._damaged(piece.name, "is damaged")
                parts.append(self._rescued(piece, found or b""))
                say(
                    f"{self._store.url}: {piece.name}: the last record is not whole; what it said is done again"
                )
                break
            parts.append(found)
            self._length, self._last = piece.start + len(found), piece.sum
        return b"".join(parts)

    def _rescued(self, piece: _Piece, content: bytes) -> bytes:
        """What stands before the last record of the last piece.

        Raises:
            UserError: more than that is damaged.
        """
        good = list(takewhile(_is_sealed, _lines(content, piece.lines - 1)))
        if len(good) < piece.lines - 1:
            raise self._damaged(piece.name, "is damaged, more than in its last record")
        return b"".join(good)

    def _pieces(self) -> tuple[list[_Piece], list[_Piece]]:
        """Those that count, in order, and the others.

        Raises:
            UserError: one is missing, or two drivers of one number have written.
        """
        listed = self._store.names(FOLDER)
        found = [(_NAME.fullmatch(name.partition("/")[2]), stored.size) for name, stored in listed.items()]
        all_of_them = [
            _Piece(int(each[1]), int(each[2]), int(each[3]), each[4], each[5], size)
            for each, size in found
            if each
        ]
        by_sum, pieces = {piece.sum: piece for piece in all_of_them}, list[_Piece]()
        last = max(all_of_them, key=lambda piece: (piece.driver, piece.start), default=None)
        for other in all_of_them:
            if last and other is not last and (other.driver, other.start) == (last.driver, last.start):
                raise self._damaged(f"{other.name} and {last.name}", "are by two searches at once")
        while last:
            pieces.append(last)
            if last.before == _NOTHING:
                break
            before = by_sum.get(last.before)
            if before is None or before.start >= last.start:
                raise self._damaged(f"the piece before {last.name}", "is missing")
            last = before
        counted = {piece.sum for piece in pieces}
        return pieces[::-1], [piece for piece in all_of_them if piece.sum not in counted]

    def _take_number(self) -> None:
        """Take a number above all others, and make sure that the file did not go on meanwhile."""
        written = [piece.driver for pieces in self._pieces() for piece in pieces]
        number = 1 + max([*self._numbers().values(), *written], default=0)
        own = f"{TAKEOVERS}/{number:04d}-{self._chance}"
        self._store.write(own, b"")
        others = {name: other for name, other in self._numbers().items() if name != own}
        pieces, _ = self._pieces()
        if any(other >= number for other in others.values()) or self._found != (
            pieces[-1].name if pieces else ""
        ):
            raise self._replaced()
        self._number = number

    def _refuse_if_replaced(self) -> None:
        """Refuse to go on where another driver has taken a number since.

        Raises:
            TakenOver: one has.
        """
        if any(number > self._number for number in self._numbers().values()):
            raise self._replaced()

    def _numbers(self) -> dict[str, int]:
        found = {name: _NUMBER.fullmatch(name.rpartition("/")[2]) for name in self._store.names(TAKEOVERS)}
        return {name: int(each[1]) for name, each in found.items() if each}

    def _replaced(self) -> TakenOver:
        return TakenOver(self._store.url)

    def _damaged(self, what: str, how: str) -> UserError:
        return UserError(f"{self._store.url}: {what} {how}, {_RELIED_ON}")


def _sum(start: int, driver: int, lines: int, before: str, content: bytes) -> str:
    said = f"{start} {driver} {lines} {before}\n".encode()
    return hashlib.sha256(said + content).hexdigest()[:16]


def _lines(content: bytes, most: int | None = None) -> list[bytes]:
    """The lines of a text with their ends, or the first ones of them."""
    return [
        line
        for line, _ in zip(io.BytesIO(content), range(len(content) if most is None else most), strict=False)
    ]


def _is_sealed(line: bytes) -> bool:
    """Whether a record carries its checksum, and is as it was written."""
    try:
        return sealed_line(unsealed_line(line.removesuffix(b"\n"))) + b"\n" == line
    except ValueError:
        return False
