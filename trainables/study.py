"""The study folder: what is searched, on what, and the journal of its trials.

``study.yaml`` pins the resolved space, sources, seed and numerics; ``journal.log`` is
Optuna's journal with one writer, the driver; ``trials/``, ``stages/`` and ``corpus/`` hold
what workers write. A folder is made once and continued by the same command.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock

from minbert.durable import cut_torn_line, write_text
from minbert.errors import UserError
from minbert.sources import Sources
from minbert.yaml_reader import dump_yaml
from trainables.spaces import Space

SCHEMA_VERSION = 1
LOCK = ".lock"
STUDY = "study"
Spec = dict[str, Any]

# What must not change between two starts of a study, and how to name it.
_PINNED = (
    ("space_fingerprint", "search space"),
    ("data.fingerprint", "data"),
    ("data.texts", "content of the text files"),
    ("encoder.fingerprint", "encoder"),
    ("seed", "seed"),
)


_UNTRAINED = ("description", "search.", "paper.", "claims.")
_OF_SEARCH = ("search.design", "search.base.")
"""What a study's runs depend on of its search section."""


@dataclass(frozen=True)
class StudyFolder:
    """An opened study folder."""

    path: Path
    spec: Spec

    def trial(self, number: int) -> Path:
        """Folder of a trial."""
        return self.path / "trials" / f"{number:05d}"

    @property
    def stages(self) -> Path:
        """Folder of the stage store."""
        return self.path / "stages"

    def journal(self, sampler: optuna.samplers.BaseSampler) -> optuna.Study:
        """Optuna's study in the folder's journal; a record torn by a crash is cut off."""
        cut_torn_line(self.path / "journal.log")
        storage = open_journal(self.path)
        try:
            return optuna.load_study(study_name=STUDY, storage=storage, sampler=sampler)
        except KeyError:
            return optuna.create_study(
                storage=storage, study_name=STUDY, sampler=sampler, direction="maximize"
            )

    def keep_models(self, numbers: set[int], finished: set[int]) -> None:
        """Of the finished trials, keep the models of ``numbers`` only; no finished trial needs its checkpoint."""
        for number in finished:
            shutil.rmtree(self.trial(number) / "checkpoint", ignore_errors=True)
            if number not in numbers:
                shutil.rmtree(self.trial(number) / "best", ignore_errors=True)


def open_journal(path: Path) -> JournalStorage:
    """Optuna's storage on the folder's journal file."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return JournalStorage(JournalFileBackend(str(path / "journal.log"), lock_obj=_NoLock()))


class _NoLock(BaseJournalFileLock):
    """The study's own lock admits one writer; Optuna's would outlive a killed driver and hang the next one."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def read_spec(path: Path) -> Spec | None:
    """Content of a folder's study.yaml; None where there is no study.

    Raises:
        UserError: the folder holds other things, a damaged study.yaml, or a newer one.
    """
    file = path / "study.yaml"
    if not file.is_file():
        if path.is_dir() and any(entry.name != LOCK for entry in path.iterdir()):
            raise UserError(f"--study {path}: the folder is not empty and holds no study; choose another one")
        if path.exists() and not path.is_dir():
            raise UserError(f"--study {path}: not a folder")
        return None
    try:
        spec = yaml.safe_load(file.read_text(encoding="utf-8"))
        version = spec["schema_version"]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{file}: damaged, not a study description ({type(error).__name__})") from None
    if version != SCHEMA_VERSION:
        raise UserError(f"{file}: schema version {version}; this program reads version {SCHEMA_VERSION}")
    return spec  # type: ignore[no-any-return]


def identity(space: Space, sources: Sources, seed: int) -> Spec:
    """What must stay the same for a study to be continued, as it stands in study.yaml."""
    texts = {name: text.fingerprint for name, text in sources.corpus.texts.items()}
    return {
        "schema_version": SCHEMA_VERSION,
        "name": space.name,
        "space": space.resolved(),
        "space_fingerprint": space.fingerprint(),
        "seed": seed,
        "data": {"path": str(sources.corpus.path), "fingerprint": sources.corpus.fingerprint}
        | ({"texts": texts} if texts else {}),
        "encoder": {"path": str(sources.encoder.folder), "fingerprint": sources.encoder.fingerprint},
    }


def refuse_another_study(path: Path, wanted: Spec) -> Spec | None:
    """Return what study.yaml says, or None where there is no study yet.

    Raises:
        UserError: the folder cannot be used, or space, data, encoder or seed are others; the
            message names the difference.
    """
    stored = read_spec(path)
    if stored is None:
        return None
    for dotted, name in _PINNED:
        old, new = _get(stored, dotted), _get(wanted, dotted)
        if old != new:
            detail = f"{old} there, {new} now"
            if dotted == "space_fingerprint":
                detail = _space_difference(stored, wanted)
            raise UserError(
                f"--study {path}: made with another {name} ({detail}); choose another --study folder"
            )
    return stored


def make_folder(path: Path, spec: Spec) -> StudyFolder:
    """Write study.yaml, of a new study or with new targets.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        (path / "trials").mkdir(parents=True, exist_ok=True)
        write_text(path / "study.yaml", dump_yaml(spec))
    except OSError as error:
        raise UserError(f"--study {path}: cannot be written: {error.strerror}") from None
    return StudyFolder(path, spec)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the study for one driver.

    Raises:
        UserError: another driver holds it; the message names host and process.
    """
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = (path / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise UserError(f"--study {path}: cannot be written: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise UserError(f"--study {path}: in use by another search ({owner})") from None
        file.truncate(0)
        file.write(f"host {socket.gethostname()}, process {os.getpid()}")
        file.flush()
        try:
            yield
        finally:
            _leave_no_trace(path, made)


def _leave_no_trace(path: Path, made: list[Path]) -> None:
    """A start that was refused leaves no lock, and no folder that it made (innermost first)."""
    if not (path / "study.yaml").is_file():
        (path / LOCK).unlink(missing_ok=True)
        with suppress(OSError):  # not empty: something else was put there meanwhile
            for folder in made:
                folder.rmdir()


def _get(spec: Spec, dotted: str) -> Any:
    value: Any = spec
    for key in dotted.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _space_difference(stored: Spec, wanted: Spec) -> str:
    old, new = _leaves(stored.get("space", {})), _leaves(wanted.get("space", {}))
    for path in [*old, *new]:
        told = re.fullmatch(r"runs\..*?\.(reported|interpretation|note)\b.*", path)
        if old.get(path) != new.get(path) and not told and _is_trained(path):
            return f"{path.removeprefix('config.')}: {old.get(path, 'absent')} there, {new.get(path, 'absent')} now"
    return f"{stored.get('name')} there, {wanted.get('name')} now"


def _is_trained(path: str) -> bool:
    return path.startswith(_OF_SEARCH) or not path.startswith(_UNTRAINED)


def _leaves(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix.rstrip("."): tree}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _leaves(value, f"{prefix}{key}.")
    return flat
