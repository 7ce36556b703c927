"""Whole objects below a URL, through pyarrow.fs: written, read, listed and removed, with patience for a store that is away."""

from __future__ import annotations

import copy
import hashlib
import math
import os
import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit, urlunsplit

from minbert.errors import UserError
from minbert.files.failpoints import reach
from minbert.files.leftovers import beside, is_ours
from minbert.remote.store_failures import judged, refusal, told, unreached
from minbert.remote.urls import check_bucket, check_url

if TYPE_CHECKING:  # slow to import, and needed for URLs only
    from pyarrow.fs import FileSystem
    from rich.status import Status

PATIENCE = 120.0
"""Seconds for which a store that is away is asked again, before that counts as a failure of storage."""
_LONGEST_WAIT = 8.0
_KEY = re.compile(r"^[0-9a-f]{4,}(?=\.|$)")
_CHUNK = 2**22
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Stored:
    """An object as the store lists it: bytes, and when it was written, by the store's own clock."""

    size: int
    changed: datetime


class ObjectStore:
    """The objects below a URL; their names are relative to it.

    Args:
        url: as the user gave it.
        files: pyarrow's file system of it.
        base: where in the file system the URL leads.
        patience: seconds for which a store that is away is asked again.

    Attributes:
        on_waiting: is told once each time that the store does not answer and is asked again.
    """

    def __init__(self, url: str, files: FileSystem, base: str, patience: float = PATIENCE) -> None:
        self.url, self._files, self._base, self._patience = url, files, base, patience
        self._on_disk = files.type_name == "local"
        self.on_waiting: Callable[[str], None] = lambda line: None
        self._before_again: Callable[[], None] = lambda: None

    def impatient(self) -> ObjectStore:
        """The same store for whoever does not depend on it just now: it is asked once."""
        same = copy.copy(self)
        same._patience = 0
        return same

    def asking(self, may_write: Callable[[], None]) -> ObjectStore:
        """The same store for whoever may be given up meanwhile.

        Args:
            may_write: is called before anything that changes something is sent again; whoever was given up does not
                return from it.
        """
        same = copy.copy(self)
        same._before_again = may_write
        return same

    def read(self, name: str) -> bytes | None:
        """An object's content; None where there is none.

        Raises:
            OSError: the store is away, or refuses.
        """

        def read() -> bytes:
            with self._files.open_input_stream(self._full(name)) as stream:
                return bytes(stream.read())

        try:
            return self._patiently(read)
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Write an object; whoever reads sees the old or the new one."""
        reach(f"{_kind(name)}.sending")
        self._patiently(lambda: self._write(name, [content]), self._before_again)
        reach(f"{_kind(name)}.sent")

    def upload(self, file: Path, name: str) -> None:
        """Write a file's content as an object."""

        def send() -> None:
            with file.open("rb") as source:
                self._write(name, iter(lambda: source.read(_CHUNK), b""))

        reach(f"{_kind(name)}.sending")
        self._patiently(send, self._before_again)
        reach(f"{_kind(name)}.sent")

    def download(self, name: str, file: Path, most: float = math.inf) -> str:
        """Put an object in the place of a file; returns its SHA-256 as hex.

        Args:
            name: of the object.
            file: where it goes.
            most: bytes; of a longer object, which is not what is looked for, no more is fetched.

        Raises:
            FileNotFoundError: there is no such object.
        """

        def fetch() -> str:
            digest, temporary = hashlib.sha256(), beside(file, "tmp")
            try:
                with (
                    self._files.open_input_stream(self._full(name)) as source,
                    temporary.open("wb") as target,
                ):
                    while target.tell() <= most and (chunk := source.read(_CHUNK)):
                        digest.update(chunk)
                        target.write(chunk)
                temporary.replace(file)
            finally:
                with suppress(OSError):
                    temporary.unlink(missing_ok=True)
            return digest.hexdigest()

        file.parent.mkdir(parents=True, exist_ok=True)
        return self._patiently(fetch)

    def copy(self, source: str, target: str) -> None:
        """Copy an object inside the store, where that is an object."""

        def send() -> None:
            if self._on_disk:
                with self._files.open_input_stream(self._full(source)) as opened:
                    self._write(target, iter(lambda: opened.read(_CHUNK), b""))
            else:
                self._files.copy_file(self._full(source), self._full(target))

        reach(f"{_kind(target)}.sending")
        with suppress(FileNotFoundError):
            self._patiently(send, self._before_again)
        reach(f"{_kind(target)}.sent")

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; those that are not there are passed over."""
        for name in names:
            remove = partial(self._files.delete_file, self._full(name))
            with suppress(FileNotFoundError):
                self._patiently(remove, self._before_again)
            reach(f"{_kind(name)}.removed")

    def delete_folder(self, name: str) -> None:
        """Remove all objects below a name, and what pyarrow leaves to mark a folder that became empty."""

        def remove() -> None:
            try:
                self._files.delete_dir(self._full(name))
            except OSError as error:  # an object of that very name hides what is below
                if "because it is a file" not in str(error):
                    raise
                self._files.delete_file(self._full(name))
                self._files.delete_dir(self._full(name))

        with suppress(FileNotFoundError):
            self._patiently(remove, self._before_again)
        reach(f"{_kind(name)}.removed")

    def names(self, folder: str = "") -> dict[str, Stored]:
        """The objects below a folder of the store, by name."""
        from pyarrow.fs import FileSelector, FileType  # noqa: PLC0415 - slow to import

        selector = FileSelector(self._full(folder), recursive=True, allow_not_found=True)
        found = self._patiently(lambda: self._files.get_file_info(selector))
        return {
            each.path.removeprefix(self._base).lstrip("/"): Stored(each.size, each.mtime)
            for each in found
            if each.type == FileType.File and not is_ours(Path(each.path))
        }

    def _write(self, name: str, chunks: Iterable[bytes]) -> None:
        target = self._full(name)
        if self._on_disk:  # where half an object could be seen
            place = beside(Path(target), "tmp")
            self._files.create_dir(str(place.parent))
            self._send(str(place), chunks)
            place.replace(target)
        else:
            self._send(target, chunks)

    def _send(self, target: str, chunks: Iterable[bytes]) -> None:
        with self._files.open_output_stream(target) as stream:
            for chunk in chunks:
                stream.write(chunk)

    def _full(self, name: str) -> str:
        return f"{self._base}/{name}" if name else self._base

    def _patiently(
        self, ask: Callable[[], _Value], before_again: Callable[[], None] = lambda: None
    ) -> _Value:
        wait, deadline, is_first = 0.5, time.monotonic() + self._patience, True
        while True:
            try:
                if not is_first:
                    before_again()
                return ask()
            except OSError as error:
                failed, final = judged(error, self.url)
                if final or time.monotonic() + wait > deadline:
                    raise failed from None
                if is_first:
                    self.on_waiting(
                        f"{self.url}: {failed.strerror}; it is asked again for {self._patience:g} s"
                    )
            time.sleep(wait)
            wait, is_first = min(2 * wait, _LONGEST_WAIT), False


def _kind(name: str) -> str:
    """What an object is called in failpoints: the folder or file that it is, of a trial of the trial's, without keys and numbers."""
    parts = (_KEY.sub("", part).strip(".") for part in name.removeprefix("trials/").split("/"))
    return next(filter(None, parts), "trial")


def open_store(url: str, option: str = "", patience: float = PATIENCE) -> ObjectStore:
    """The objects below a URL, not looked at yet.

    Args:
        url: ``s3://bucket/folder``, with the options of pyarrow behind a question mark; or ``file:///folder``.
        option: of the command line that names it.
        patience: seconds for which a store that is away is asked again.

    Raises:
        UserError: it is no such URL.
        OSError: the store that would tell the bucket's region is away.
    """
    import pyarrow as pa  # noqa: PLC0415 - slow to import
    from pyarrow.fs import FileSystem  # noqa: PLC0415

    said = f"{option} {url}".strip()
    check_url(said, url)
    check_bucket(said, url)
    parts = urlsplit(url)
    if parts.scheme == "s3":  # an object of a few bytes takes one request, not three
        parts = parts._replace(query="&".join(filter(None, (parts.query, "allow_delayed_open=true"))))
    try:
        with _told(url):
            files, base = FileSystem.from_uri(urlunsplit(parts))
    except pa.ArrowInvalid as error:
        reason = re.sub(r"&?allow_delayed_open=true", "", str(error).splitlines()[0])
        raise UserError(f"{said}: {reason}") from None
    except OSError as error:
        failed, final = told(error, url)
        if final:
            raise UserError(f"{said}: {refusal(failed, parts.netloc)}") from None
        raise unreached(failed) from None
    return ObjectStore(url, files, base.rstrip("/"), patience)


def check_reachable(store: ObjectStore, option: str = "") -> None:
    """Look whether a store takes our questions, before anything depends on it.

    Raises:
        UserError: there is no such bucket, or it is not open to us.
        OSError: it is away.
    """
    from pyarrow.fs import FileType  # noqa: PLC0415 - slow to import

    said, bucket = f"{option} {store.url}".strip(), urlsplit(store.url).netloc
    if not bucket:
        folder = Path(store._base)
        there = next(each for each in (folder, *folder.parents) if each.exists())
        if not there.is_dir() or not os.access(there, os.W_OK):
            raise UserError(f"{said}: {there} is no folder that may be written")
    try:
        with _told(store.url):
            found = store._files.get_file_info(bucket).type if bucket else None
        if found == FileType.NotFound:
            raise UserError(f"{said}: there is no bucket {bucket}; make it first, or check its name")
    except OSError as error:
        failed, final = (error, False) if error.errno is not None else told(error, store.url)
        if final:
            raise UserError(f"{said}: {refusal(failed, bucket)}") from None
        raise unreached(failed) from None


def _told(url: str) -> Status:
    """Shows that a store is asked, in a terminal only: one that says nothing keeps us waiting for minutes."""
    from rich.console import Console  # noqa: PLC0415 - slow to import

    return Console(stderr=True).status(f"asking {url}")
