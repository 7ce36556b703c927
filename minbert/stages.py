"""A recipe is a chain of stages; the store keeps what earlier stages produced.

An entry is the state after some epochs of a stage that is not the last one. Its key covers
everything that the state depends on (:func:`minbert.canonical.stage_key`), so whoever finds
a key need not train. Entries at the epochs of a stage whose schedule has no end also hold
the optimiser's moments: a longer run goes on from a shorter one. A training that fails by itself, as
every other one with its key would, leaves the failure in the place of the state.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from minbert.errors import TrainingFailure, UserError
from minbert.files.durable import publish_folder, read_json_lines, write_text
from minbert.files.leftovers import beside
from minbert.files.sealed import CHECKSUMS, is_intact, sealed_line
from minbert.files.storage import failure as storage_failure
from minbert.files.storage import is_of_storage
from minbert.files.yaml_dialect import shorten

FAILURE = ".failure.json"
"""How the name of a failure of a stage ends."""


@dataclass(frozen=True)
class StageState:
    """What a stage leaves behind.

    Attributes:
        weights: parameters by name that later stages start from.
        moments: what training goes on from, empty unless the stage can be extended.
        step_number: optimiser steps done.
        seconds: cost of making it, earlier stages not included.
        facts: losses and scores of the last epoch, as they stand in a history record.
    """

    weights: dict[str, Tensor]
    moments: dict[str, Tensor]
    step_number: int
    seconds: float
    facts: dict[str, Any]


class StageStore(Protocol):
    """Where finished stages are kept."""

    def get(self, key: str) -> StageState | None:
        """The entry of a key, or None when it is absent or damaged."""

    def put(self, key: str, state: StageState) -> None:
        """Publish an entry; an existing one stays."""

    def failure(self, key: str) -> TrainingFailure | None:
        """How the training of a key fails, or None where that is not known."""

    def put_failure(self, key: str, failure: TrainingFailure) -> None:
        """Note that whoever trains a key fails."""


class LocalStageStore:
    """A stage store in a folder: one folder a key, renamed into place when complete.

    Attributes:
        folder: where it is; made when something is published.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: str) -> StageState | None:
        entry = self.folder / key
        found = _identity(entry)
        try:
            return _read(entry) if found and is_intact(entry, key) else None
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        except SafetensorError as error:
            if stored := storage_failure(error):
                raise stored from None
            return None
        except (OSError, RuntimeError) as error:
            if _identity(entry) == found or (is_of_storage(error) and not _is_stale(error)):
                raise
            return None  # somebody took it away, or replaced it, meanwhile

    def has(self, key: str) -> bool:
        """Whether there is an entry; damage shows when it is taken."""
        return (self.folder / key / "manifest.json").is_file()

    def put(self, key: str, state: StageState) -> None:
        if self.has(key) and self.get(key) is not None:
            return
        self._publish(key, state)

    def failure(self, key: str) -> TrainingFailure | None:
        try:
            (told,) = read_json_lines(self._failure_file(key))
            return TrainingFailure(told["cause"], told["message"]) if told["of"] == key else None
        except (ValueError, KeyError, TypeError):
            return None

    def put_failure(self, key: str, failure: TrainingFailure) -> None:
        self.folder.mkdir(exist_ok=True)
        told = sealed_line({"of": key, "cause": failure.cause, "message": str(failure)})
        write_text(self._failure_file(key), told.decode() + "\n")

    def collect(self, room: float, needed: Set[str] = frozenset()) -> int:
        """Remove what was not used for longest until the entries fit into ``room`` bytes.

        Args:
            room: bytes that the entries may take.
            needed: keys that stay in any case.

        Returns:
            Entries that were removed.
        """
        entries = sorted(_entries(self.folder), key=lambda entry: entry.used)
        total, removed = sum(entry.size for entry in entries), 0
        for entry in entries:
            if total <= room:
                break
            if entry.folder.name not in needed:
                retired = beside(entry.folder, "old")
                with suppress(FileNotFoundError):  # another driver was quicker
                    entry.folder.rename(retired)  # whoever is about to take it finds all of it or nothing
                    shutil.rmtree(retired, ignore_errors=True)
                    removed += 1
                total -= entry.size
        return removed

    def size(self, key: str) -> int:
        """Bytes of an entry; 0 where there is none."""
        try:
            return sum(file.stat().st_size for file in (self.folder / key).iterdir())
        except FileNotFoundError:
            return 0

    def sizes(self) -> dict[str, int]:
        """Bytes of every entry, by key."""
        return {entry.folder.name: entry.size for entry in _entries(self.folder)}

    def _failure_file(self, key: str) -> Path:
        return self.folder / f"{key}{FAILURE}"

    def _publish(self, key: str, state: StageState) -> None:
        def stays() -> bool:  # the same state, published by somebody else at the same moment
            return self.get(key) is not None

        with publish_folder(self.folder / key, of=key, stays=stays) as temporary:
            save_file(prefixed(state.weights, state.moments), temporary / "state.safetensors")
            meta = {
                "step_number": state.step_number,
                "seconds": state.seconds,
                "facts": state.facts,
            }
            (temporary / "manifest.json").write_text(json.dumps(meta), encoding="utf-8")


@dataclass(frozen=True)
class _Entry:
    """A folder of the store, its bytes, and when it was taken last (seconds since 1970)."""

    folder: Path
    size: int
    used: float


def _read(entry: Path) -> StageState:
    meta = json.loads((entry / "manifest.json").read_text(encoding="utf-8"))
    weights, moments = split_prefixed(load_file(entry / "state.safetensors"))
    state = StageState(weights, moments, meta["step_number"], meta["seconds"], meta["facts"])
    with suppress(OSError):  # a store that is read only
        os.utime(entry / "manifest.json")  # used just now
    return state


def _identity(entry: Path) -> tuple[int, int] | None:
    """Tells the folder of an entry from one that takes its place; None where there is none."""
    try:
        found = entry.stat()
    except OSError as error:
        if is_of_storage(error):
            raise
        return None
    return found.st_ino, found.st_mtime_ns


def _is_stale(error: Exception) -> bool:
    """Whether a network file system says that a file was removed on another host, or that it is out of reach."""
    return isinstance(error, OSError) and error.errno == errno.ESTALE


def refuse_other_folder(folder: Path, said: str) -> None:
    """Refuse a folder that holds something else than stages, as a store removes what it has no room for.

    Args:
        folder: that is to be a store; it need not be there.
        said: the option that names it.

    Raises:
        UserError: it does.
    """
    for entry in sorted(folder.glob("[!.]*")):
        is_stage = _is_sealed(entry) or (entry / "state.safetensors").exists()
        if not (is_stage or entry.name.endswith(FAILURE)):
            known = "name a new folder, an empty one, or one that only holds stages"
            raise UserError(f"{said} {folder}: {shorten(entry.name)} is not a stage: {known}")


def _is_sealed(entry: Path) -> bool:
    return (entry / CHECKSUMS).is_file()


def _entries(folder: Path) -> Iterator[_Entry]:
    for manifest in folder.glob("[!.]*/manifest.json"):
        if not _is_sealed(manifest.parent):
            continue
        with suppress(FileNotFoundError):  # another driver removes it at this moment
            size = sum(file.stat().st_size for file in manifest.parent.iterdir())
            yield _Entry(manifest.parent, size, manifest.stat().st_mtime)


def prefixed(weights: dict[str, Tensor], moments: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights and moments in one mapping for a safetensors file."""
    joined = {f"weight/{name}": tensor for name, tensor in weights.items()}
    joined |= {f"moment/{name}": tensor for name, tensor in moments.items()}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in joined.items()}


def split_prefixed(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The inverse of :func:`prefixed`."""
    weights = {
        name.removeprefix("weight/"): value for name, value in tensors.items() if name.startswith("weight/")
    }
    moments = {
        name.removeprefix("moment/"): value for name, value in tensors.items() if name.startswith("moment/")
    }
    return weights, moments
