"""A study in an object store, fetched for reading: what was searched, its trials, epochs and predictions, no models."""

from __future__ import annotations

import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console

from minbert.errors import UserError
from minbert.files.durable import exclusive
from minbert.files.leftovers import beside
from minbert.remote.journal_segments import Segments
from minbert.remote.mirror import Mirror, records_of
from minbert.remote.object_store import ObjectStore, check_reachable, open_store
from minbert.remote.working_copy import reading_copy

_READ = ("config.yaml", "history.jsonl", "error.txt", "memory_splits.jsonl")
_NUMBER = re.compile(r"\d{5,9}", re.ASCII)
_AT_ONCE = 16
_PATIENCE_SECONDS = 600  # for another command that fetches the same study


def fetch_study(url: str) -> Path:
    """Bring what commands that only read need of a study to this machine; only what is new is fetched.

    Args:
        url: of the study.

    Returns:
        The folder that holds it.

    Raises:
        UserError: the URL cannot be used, or there is no study.
        OSError: the store is away.
    """
    store = open_store(url, patience=0)
    check_reachable(store)
    if store.read("study.yaml") is None:
        raise UserError(f"{url}: not a study (it has no study.yaml)")
    folder = reading_copy(url)
    folder.mkdir(parents=True, exist_ok=True)
    waiting = Console(stderr=True).status(f"fetching {url}")  # in a terminal only
    with exclusive(folder / ".fetching", _PATIENCE_SECONDS), waiting:
        store.download("study.yaml", folder / "study.yaml")
        _fetch_trials(store, folder)
        _fetch_journal(store, folder)
    return folder


def _fetch_trials(store: ObjectStore, folder: Path) -> None:
    """Before the journal: a trial that it says has ended is then all there."""
    found = records_of(store.names("trials"), "trials")
    records = {number: names for number, names in found.items() if _NUMBER.fullmatch(number)}
    for known in folder.glob("trials/*"):
        if known.name not in records:
            shutil.rmtree(known, ignore_errors=True)

    def fetch(number: str) -> None:
        mirror = Mirror(store, f"trials/{number}", folder / "trials" / number)
        mirror.pull(_is_read, listed=records[number])

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        list(threads.map(fetch, sorted(records)))


def _fetch_journal(store: ObjectStore, folder: Path) -> None:
    journal = folder / "journal.log"
    known = journal.read_bytes() if journal.is_file() else b""
    content = Segments(store).fetch(known)
    if content != known or not journal.is_file():
        temporary = beside(journal, "tmp")  # another command may be reading it
        temporary.write_bytes(content)
        temporary.replace(journal)


def _is_read(name: str) -> bool:
    return name in _READ or name.startswith("predictions/")
