"""A folder that lives in an object store and is worked on in a copy on this machine.

Whoever was given up may still write, and what it sent may arrive at any time later. So every start that writes has
names of its own. Its records, ``published/<start>-<version>.json``, say which files with which checksums the folder
consists of; the bytes lie below ``.kept/<start>/``, named by their checksum. The last record of the last start counts, so
nothing that an earlier one sends, moves or removes can touch it, and whoever reads by it finds the folder as it was or
as it is, wherever a writer died.

Beside that lie copies of the files under their own names, for whoever copies the folder out of the store as it is.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from minbert.files.sealed import checksum, sealed_line, unsealed_line
from minbert.files.strangers import check_names
from minbert.remote.object_store import ObjectStore

RECORDS = "published"
_KEPT = ".kept"
_START = r"(\d{4,9})-[0-9a-f]{8}"
_RECORD = re.compile(rf"{RECORDS}/({_START})-(\d{{4,9}})\.json", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LOOKS = 3
"""How often a folder is read again that changes while it is read."""


@dataclass(frozen=True)
class Content:
    """What a file holds: its bytes and their SHA-256."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Published:
    """What the store says of a folder.

    Attributes:
        files: by name.
        start: names the start that wrote them; empty where there is none.
        version: counts what was published, also by earlier starts that this one went on from.
    """

    files: Mapping[str, Content] = field(default_factory=dict)
    start: str = ""
    version: int = 0


class Mirror:
    """A folder of a store and its copy here, which only one process changes at a time.

    Args:
        store: the store.
        prefix: of the folder in it.
        folder: the copy here.
        apart: whether a file, by its name, is none of the mirror's; hidden ones never are.
    """

    def __init__(
        self, store: ObjectStore, prefix: str, folder: Path, apart: Callable[[str], bool] = lambda name: False
    ) -> None:
        self._store, self._prefix, self._folder, self._apart = store, prefix, folder, apart
        self._chance = secrets.token_hex(4)  # two workers may take the same number at the same moment
        self._sums: dict[str, tuple[tuple[int, int, int], Content]] = {}
        self._published, self._version = Published(), 0
        self._kept = set[str]()
        self._laid_out: dict[str, Content] = {}

    @property
    def published(self) -> Published:
        """What the store was last found, or left, to hold."""
        return self._published

    def look(self) -> None:
        """Take note of what the store has; the copy stays as it is."""
        self._published = read_published(self._store, self._prefix)

    def pull(
        self, wanted: Callable[[str], bool] = lambda name: True, listed: Collection[str] | None = None
    ) -> None:
        """Make the copy what the store says; what there does not have its checksum is left out.

        Args:
            wanted: which files are fetched, by name.
            listed: the records that the store was just found to have; None: it is asked.
        """
        for _ in range(_LOOKS):
            self._published = read_published(self._store, self._prefix, listed)
            files = {name: content for name, content in self._published.files.items() if wanted(name)}
            damaged = {name for name, content in files.items() if not self._fetch(name, content)}
            if not damaged:
                break
            listed = None
        for name in self._here():
            if name not in files or name in damaged:
                (self._folder / name).unlink()
        kept = {name: content for name, content in self._published.files.items() if name not in damaged}
        self._published = Published(kept, self._published.start, self._published.version)

    def publish(self, number: int, may_write: Callable[[], None] = lambda: None) -> None:
        """Bring what changed in the copy since it was pulled or published last.

        Args:
            number: of this start, higher than that of all earlier ones.
            may_write: is called right before it counts, and before anything is sent again; whoever was given up does
                not return from it.
        """
        now, before = self._contents(), self._published.files
        if now == before:
            return
        store, start = self._store.asking(may_write), f"{number:04d}-{self._chance}"
        needed = {self._place(start, *item): item[0] for item in now.items()}
        for place in sorted(needed.keys() - self._kept):
            store.upload(self._folder / needed[place], place)
            self._kept.add(place)
        may_write()
        self._version = max(self._version, self._published.version) + 1  # what failed may arrive all the same
        last, published = self._published, Published(now, start, self._version)
        store.write(_name(self._prefix, published), _line(self._prefix, published))
        self._published = published
        self._lay_out(store)
        unneeded, self._kept = self._kept - needed.keys(), self._kept & needed.keys()
        store.delete([*(self._at(name) for name in sorted(before.keys() - now.keys())), *sorted(unneeded)])
        if last.start == start:
            store.delete([_name(self._prefix, last)])
        else:
            self._clear_up(store, number)

    def drop(self, folders: Collection[str], anew: bool = False) -> None:
        """Remove folders of it from the store, and what starts that were given up left there; the copy is left alone.

        Args:
            folders: their names.
            anew: whether the files are put under their own names once more, as somebody who was given up may have
                written there.
        """
        listed = self._store.names(self._prefix)
        self._published = read_published(self._store, self._prefix, listed)
        if start := self._published.start:
            self._remove_kept(self._store, listed, lambda other: True, but=start)
            used = {self._place(start, *item) for item in self._published.files.items()}
            replaced = {name for name in listed if name.startswith(self._at(f"{_KEPT}/{start}/"))} - used
            self._store.delete(sorted(replaced))
        for folder in folders:
            for place in (f"{_KEPT}/{start}/{folder}", folder):  # the latter last: it tells that some is left
                if any(name.startswith(f"{self._at(place)}/") for name in listed):
                    self._store.delete_folder(self._at(place))
        if anew:
            self._lay_out(self._store, folders)

    def _lay_out(self, store: ObjectStore, without: Collection[str] = ()) -> None:
        """Put copies of the files under their own names."""
        for name, content in sorted(self._published.files.items()):
            if self._laid_out.get(name) != content and PurePosixPath(name).parts[0] not in without:
                store.copy(self._place(self._published.start, name, content), self._at(name))
                self._laid_out[name] = content

    def _clear_up(self, store: ObjectStore, number: int) -> None:
        """Remove what earlier starts have left: what they kept, and files that the folder does not hold any more."""
        listed = store.names(self._prefix)
        self._remove_kept(store, listed, lambda other: other < number)
        names = {name.removeprefix(f"{self._prefix}/") for name in listed}
        left = sorted(filter(self._is_own, names - self._published.files.keys()))
        store.delete(self._at(name) for name in left)

    def _remove_kept(
        self, store: ObjectStore, listed: Iterable[str], of: Callable[[int], bool], but: str = ""
    ) -> None:
        """Remove what starts have kept that do not count any more, by their number."""
        found = {re.match(rf"{re.escape(self._at(_KEPT))}/({_START})/", name, re.ASCII) for name in listed}
        starts = {(each[1], int(each[2])) for each in found if each}
        for start in sorted(start for start, number in starts if start != but and of(number)):
            store.delete_folder(self._at(f"{_KEPT}/{start}"))

    def _fetch(self, name: str, content: Content) -> bool:
        """Bring a file here; False where the store does not have it as it says."""
        file = self._folder / name
        if self._content(name) == content:
            return True
        for place in (self._place(self._published.start, name, content), self._at(name)):
            try:
                if self._store.download(place, file, content.size) == content.sha256:
                    return True
            except FileNotFoundError:
                continue
        return False

    def _contents(self) -> dict[str, Content]:
        found = {name: self._content(name) for name in self._here()}
        return {name: content for name, content in found.items() if content is not None}

    def _here(self) -> list[str]:
        paths = (path for path in self._folder.rglob("*") if path.is_file() and not path.is_symlink())
        names = (path.relative_to(self._folder).as_posix() for path in paths)
        return sorted(filter(self._is_own, names))

    def _is_own(self, name: str) -> bool:
        parts = PurePosixPath(name).parts
        return parts[0] != RECORDS and not any(map(_is_hidden, parts)) and not self._apart(name)

    def _content(self, name: str) -> Content | None:
        """What a file holds; read again only where it may have changed."""
        file = self._folder / name
        try:
            found = file.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        mark = found.st_size, found.st_mtime_ns, found.st_ino
        known = self._sums.get(name)
        if known is None or known[0] != mark:
            known = self._sums[name] = mark, Content(found.st_size, checksum(file))
        return known[1]

    def _at(self, name: str) -> str:
        return f"{self._prefix}/{name}"

    def _place(self, start: str, name: str, content: Content) -> str:
        """Where a start keeps a file's bytes."""
        return self._at(f"{_KEPT}/{start}/{PurePosixPath(name).parts[0]}/{content.sha256}")


def read_published(store: ObjectStore, prefix: str, listed: Collection[str] | None = None) -> Published:
    """What the last start says of a folder whose record can be relied on; nothing where there is none.

    Args:
        store: the store.
        prefix: of the folder in it.
        listed: objects that the store was just found to have; None: it is asked.
    """
    names = store.names(f"{prefix}/{RECORDS}") if listed is None else listed
    found = {name: _RECORD.fullmatch(name.removeprefix(f"{prefix}/")) for name in names}
    records = [(int(each[2]), int(each[3]), each[1], name) for name, each in found.items() if each]
    for _, version, start, name in sorted(records, reverse=True):
        content = store.read(name)
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            if content is not None:
                return _parsed(content, f"{prefix} {start} {version}", start)
    return Published()


def records_of(names: Iterable[str], folder: str) -> dict[str, list[str]]:
    """The records among the objects of a store, by the folder right below ``folder`` that they are of."""
    found: dict[str, list[str]] = {}
    for name in names:
        inside, _, record = name.removeprefix(f"{folder}/").partition("/")
        if _RECORD.fullmatch(record):
            found.setdefault(inside, []).append(name)
    return found


def _name(prefix: str, published: Published) -> str:
    return f"{prefix}/{RECORDS}/{published.start}-{published.version:04d}.json"


def _line(prefix: str, published: Published) -> bytes:
    files = {name: [content.size, content.sha256] for name, content in sorted(published.files.items())}
    of = f"{prefix} {published.start} {published.version}"
    return sealed_line({"of": of, "version": published.version, "files": files}) + b"\n"


def _parsed(line: bytes, of: str, start: str) -> Published:
    """What a record says.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is damaged, or another one.
    """
    record = unsealed_line(line.rstrip(b"\n"))
    files = {name: Content(size, sha) for name, (size, sha) in record["files"].items()}
    check_names(files)
    if record["of"] != of or not all(map(_is_possible, files.values())):
        raise ValueError("no record of ours")
    return Published(files, start, int(record["version"]))


def _is_possible(content: Content) -> bool:
    return type(content.size) is int and content.size >= 0 and bool(_SHA256.fullmatch(content.sha256))


def _is_hidden(part: str) -> bool:
    return part.startswith(".")
