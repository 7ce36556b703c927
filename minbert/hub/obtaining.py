"""Get entries of the catalogue into a data folder: download, check, lay out, put in place; again from where it stopped.

Every step leaves a folder from which the same call goes on. The record is written before the files it tells of, so a
file that does not fit it was never half written by us: somebody else changed it, and it is left alone.
"""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from minbert.errors import UserError
from minbert.files.durable import Held, exclusive
from minbert.files.leftovers import beside, clear_unfinished
from minbert.files.sealed import checksum
from minbert.files.storage import is_of_storage
from minbert.files.strangers import refuse_strangers
from minbert.hub.catalogue import Entry, HubFile
from minbert.hub.client import Hub, HubError, Unreachable, fits, refuse_without_room
from minbert.hub.layouts import lay_out
from minbert.hub.progress import Watch
from minbert.hub.record import FOLDER, Fetched, condition, download_of, read_record, write_record


def obtain(entries: Sequence[Entry], folder: Path, watch: Watch, endpoint: str | None = None) -> list[str]:
    """Bring entries into a data folder; what is there already is compared with its checksums and stays.

    Args:
        entries: what to get.
        folder: the data folder; made where there is none.
        watch: shows how far it is.
        endpoint: the hub's address, unless the environment says it.

    Returns:
        One line for every entry that could not be had; each was shown when it failed, too.

    Raises:
        UserError: a file that is to be written is somebody else's, or the folder cannot be used.
        Unreachable: there is no way to the hub.
        OSError: storage fails.
    """
    wanted = _unfinished(entries, folder)
    for entry in entries:
        if entry not in wanted:
            watch.say(f"{entry.name}: there, and as it was written")
    done = [download_of(folder, file) for entry in entries if entry not in wanted for file in entry.files]
    if not wanted and not any(path.exists() for path in done):
        return []
    failures = []
    with _working_in(folder):
        _clear(done, folder / FOLDER)  # of a start that ended between placing and clearing
        hub = Hub(endpoint)
        for entry in _unfinished(wanted, folder):
            try:
                _obtain_one(entry, folder, hub, watch)
            except Unreachable:
                raise
            except HubError as error:
                watch.say(f"{entry.name}: failed, the others go on: {error}")
                failures.append(f"{entry.name}: {error}")
    return failures


def still_to_bring(entries: Sequence[Entry], folder: Path) -> list[HubFile]:
    """The hub's files that lie nowhere yet, for somebody who brings them by hand."""
    record = read_record(folder)
    lacking = [entry for entry in entries if condition(folder, entry, record).state != "there"]
    return [file for entry in lacking for file in entry.files if not download_of(folder, file).is_file()]


def _unfinished(entries: Sequence[Entry], folder: Path) -> list[Entry]:
    """Entries that are not wholly there.

    Raises:
        UserError: a file of theirs is not as it was written.
    """
    record = read_record(folder)
    found = {entry: condition(folder, entry, record) for entry in entries}
    strange = [path for each in found.values() for path in each.strange]
    if strange:
        others = [entry.name for entry, each in found.items() if not each.strange]
        rest = f"; the others come with --only {' '.join(others)}" if others else ""
        more = f" (and {len(strange) - 1} more)" if len(strange) > 1 else ""
        raise UserError(
            f"{strange[0]}{more}: is there, and not as this command wrote it, so it is left alone: move it away, "
            f"or name another folder with --to{rest}"
        )
    return [entry for entry in entries if found[entry].state != "there"]


@contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    """Have a data folder for oneself, cleared of what a crash left half done."""
    inside = folder / FOLDER
    new = not folder.exists()
    try:
        inside.mkdir(parents=True, exist_ok=True)
        refuse_strangers(inside)
        with exclusive(inside / ".lock", patience=0):
            clear_unfinished(inside)
            try:
                yield
            finally:
                with suppress(OSError):
                    _clear_empty(inside, new)
    except Held as held:
        raise UserError(f"{folder}: another fetch is at work there ({held.owner})") from None
    except OSError as error:
        if is_of_storage(error):
            raise
        raise UserError(f"{error.filename or folder}: {error.strerror or error}") from None


def _clear_empty(inside: Path, new: bool) -> None:
    """Leave no folder behind where nothing came: a search would take an empty ``data/`` for the data."""
    if [path.name for path in inside.iterdir()] == [".lock"]:
        (inside / ".lock").unlink()
        inside.rmdir()
        if new:
            inside.parent.rmdir()


def _obtain_one(entry: Entry, folder: Path, hub: Hub, watch: Watch) -> None:
    sources = [download_of(folder, file) for file in entry.files]
    verified = [
        _bring(f"{entry.name}: {file.path}", file, path, hub, watch)
        for file, path in zip(entry.files, sources, strict=True)
    ]
    watch.say(f"{entry.name}: writing {', '.join(entry.writes)}")
    made = beside(folder / FOLDER / "made", "tmp")
    made.mkdir()
    try:
        remarks = _laid_out(entry, sources, made)
        files = {name: _settled(made / name) for name in entry.writes}
        _place(
            entry,
            Fetched(
                repository=entry.repository.name,
                revision=entry.repository.revision,
                verified=all(verified),
                files=files,
                remarks=remarks,
            ),
            made,
            folder,
        )
    finally:
        shutil.rmtree(made, ignore_errors=True)
    for remark in remarks:
        watch.say(f"{entry.name}: {remark}")
    _clear(sources, folder / FOLDER)


def _bring(name: str, file: HubFile, path: Path, hub: Hub, watch: Watch) -> bool:
    """See to it that a file of the hub is there; returns whether its checksum was compared with the hub's."""
    if path.is_file():
        return _is_the_hubs(file, path, hub, watch)
    remote = hub.describe(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part_of(path)
    there = part.stat().st_size if part.exists() else 0
    refuse_without_room(path.parent, (remote.size or 0) - there)
    with watch.file(name, remote.size, there) as advance:
        hub.download(remote, part, advance)
    if not fits(part, remote.checksum):
        part.unlink()
        raise HubError(
            f"{remote.url}: what came has not the hub's checksum and was thrown away; give the same command again"
        )
    part.rename(path)
    return True


def _is_the_hubs(file: HubFile, path: Path, hub: Hub, watch: Watch) -> bool:
    """Compare a file that lies there, from an earlier start or by hand, with the hub's where that can be asked."""
    try:
        remote = hub.describe(file)
    except HubError as error:
        watch.say(f"{path}: taken as it lies there, its checksum was not compared ({error})")
        return False
    if not fits(path, remote.checksum):
        raise HubError(
            f"{path}: has not the checksum that the hub gives for {remote.url}; remove it, and give the same command again"
        )
    return True


def _laid_out(entry: Entry, sources: Sequence[Path], made: Path) -> list[str]:
    try:
        return lay_out(entry, sources, made)
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        places = ", ".join(map(str, sources))
        raise HubError(
            f"not of the form that {entry.repository.name} documents ({type(error).__name__}: {str(error)[:120]}); "
            f"look at {places}, or remove it and give the same command again"
        ) from None


def _place(entry: Entry, fetched: Fetched, made: Path, folder: Path) -> None:
    """Put files in place of those of an older revision, the record first."""
    _unfinished([entry], folder)  # somebody may have put a file there meanwhile
    for name in fetched.files:
        (folder / name).unlink(missing_ok=True)
        (folder / name).parent.mkdir(exist_ok=True)
    write_record(folder, {**read_record(folder), entry.name: fetched})
    for name in fetched.files:
        (made / name).replace(folder / name)


def _settled(path: Path) -> str:
    """A file's SHA-256, once it is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return checksum(path)


def _clear(sources: Sequence[Path], inside: Path) -> None:
    """Remove downloads that are laid out, and the folders that this empties."""
    for path in sources:
        path.unlink(missing_ok=True)
        _part_of(path).unlink(missing_ok=True)
        for parent in path.relative_to(inside).parents[:-1]:
            with suppress(OSError):  # something else is in it
                (inside / parent).rmdir()


def _part_of(path: Path) -> Path:
    """What of a download is there while it is not whole."""
    return path.with_name(f"{path.name}.part")
