"""A folder that lives in an object store and is worked on in a copy on this machine.

The store holds the files under their own names, and ``published.json``: which files with which checksums the folder
consists of. What takes the place of another file goes up beside it first and is moved, inside the store, once
``published.json`` says so. So whoever reads by that record finds the folder as it was or as it is, never a mixture,
wherever the writer died.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from minbert.files.sealed import checksum, sealed_line, unsealed_line
from minbert.remote.object_store import ObjectStore

RECORD = "published.json"
_ASIDE = ".next"
_LOOKS = 3
"""How often a folder is read again that changes while it is read."""


@dataclass(frozen=True)
class Content:
    """What a file holds: its bytes and their SHA-256."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Published:
    """What the store says of a folder: its files by name, and which of them still lie beside their place."""

    files: Mapping[str, Content] = field(default_factory=dict)
    moving: frozenset[str] = frozenset()


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
        self._sums: dict[str, tuple[tuple[int, int, int], Content]] = {}
        self._published = Published()

    def pull(self, wanted: Callable[[str], bool] = lambda name: True) -> None:
        """Make the copy what the store says; what there does not have its checksum is left out.

        Args:
            wanted: which files are fetched, by name.
        """
        for _ in range(_LOOKS):
            self._published = read_published(self._store, self._prefix)
            files = {name: content for name, content in self._published.files.items() if wanted(name)}
            damaged = {name for name, content in files.items() if not self._fetch(name, content)}
            if not damaged:
                break
        for name in self._here():
            if name not in files or name in damaged:
                (self._folder / name).unlink()
        kept = {name: content for name, content in self._published.files.items() if name not in damaged}
        self._published = Published(kept, self._published.moving - damaged)

    def publish(self, may_write: Callable[[], None] = lambda: None) -> None:
        """Bring what changed in the copy since it was pulled or published last.

        Args:
            may_write: is called right before it counts; whoever was given up does not return from it.
        """
        self._settle()
        now, before = self._contents(), self._published.files
        changed = {name for name, content in now.items() if before.get(name) != content}
        if now == before:
            return
        replaced = frozenset(changed & set(before))
        for name in sorted(changed):
            self._store.upload(
                self._folder / name, self._aside(now[name]) if name in replaced else self._at(name)
            )
        may_write()
        self._note(Published(now, replaced))
        self._settle()
        self._store.delete(self._at(name) for name in set(before) - set(now))

    def drop(self, folders: Iterable[str]) -> None:
        """Remove folders of it from the store; the copy is left alone."""
        self._published = read_published(self._store, self._prefix)
        self._settle()
        folders = set(folders)
        gone = [name for name in self._published.files if PurePosixPath(name).parts[0] in folders]
        if gone:
            kept = {name: content for name, content in self._published.files.items() if name not in gone}
            self._note(Published(kept))
        for folder in folders:  # also what an earlier call had no time to remove
            if self._store.names(self._at(folder)):
                self._store.delete_folder(self._at(folder))

    @property
    def published(self) -> Published:
        """What the store was last found, or left, to hold."""
        return self._published

    def _settle(self) -> None:
        """Move what lies beside its place."""
        if not self._published.moving:
            return
        files = self._published.files
        for name in sorted(self._published.moving):
            self._store.copy(self._aside(files[name]), self._at(name))
        self._note(Published(files))
        self._store.delete(self._store.names(self._at(_ASIDE)))

    def _fetch(self, name: str, content: Content) -> bool:
        """Bring a file here; False where the store does not have it as it says."""
        file = self._folder / name
        if self._content(name) == content:
            return True
        places = [self._aside(content)] if name in self._published.moving else []
        for place in (*places, self._at(name)):
            try:
                if self._store.download(place, file) == content.sha256:
                    return True
            except FileNotFoundError:
                continue
        return False

    def _note(self, published: Published) -> None:
        files = {name: [content.size, content.sha256] for name, content in sorted(published.files.items())}
        line = sealed_line({"files": files, "moving": sorted(published.moving)})
        self._store.write(self._at(RECORD), line + b"\n")
        self._published = published

    def _contents(self) -> dict[str, Content]:
        found = {name: self._content(name) for name in self._here()}
        return {name: content for name, content in found.items() if content is not None}

    def _here(self) -> list[str]:
        paths = (path for path in self._folder.rglob("*") if path.is_file() and not path.is_symlink())
        names = (path.relative_to(self._folder).as_posix() for path in paths)
        return sorted(
            name for name in names if not _is_hidden(name) and name != RECORD and not self._apart(name)
        )

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

    def _aside(self, content: Content) -> str:
        return self._at(f"{_ASIDE}/{content.sha256}")


def read_published(store: ObjectStore, prefix: str) -> Published:
    """What a store says of a folder; nothing where it says nothing, or nothing that can be relied on."""
    content = store.read(f"{prefix}/{RECORD}")
    try:
        return Published() if content is None else _parsed(unsealed_line(content.rstrip(b"\n")))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Published()


def _parsed(record: Mapping[str, Any]) -> Published:
    files = {name: Content(int(size), str(sha)) for name, (size, sha) in record["files"].items()}
    moving = frozenset(record["moving"])
    if any(_leads_out(name) for name in files) or not moving <= set(files):
        raise ValueError("no record of ours")
    return Published(files, moving)


def _leads_out(name: str) -> bool:
    path = PurePosixPath(name)
    return path.is_absolute() or not path.parts or ".." in path.parts or "\0" in name


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(name).parts)
