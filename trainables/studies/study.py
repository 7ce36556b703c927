"""The study folder: what is searched, on what, and the journal of its trials.

``study.yaml`` pins the resolved space, sources, seed and numerics; ``journal.log`` is
Optuna's journal with one writer, the driver; ``trials/``, ``stages/`` and ``corpus/`` hold
what workers write. A folder is made once and continued by the same command.
"""

from __future__ import annotations

import shutil
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import optuna

from minbert.config import Source
from minbert.errors import UserError
from minbert.files.durable import write_text
from minbert.files.failpoints import reach
from minbert.files.journal_owner import named_owner
from minbert.files.leftovers import clear_abandoned, clear_of_dead, clear_unfinished
from minbert.files.storage import why_refused
from minbert.files.strangers import refuse_irregular, refuse_other_kinds, refuse_strangers
from minbert.sources import Sources
from minbert.yaml_reader import read_record, sealed_yaml
from trainables.spaces.space import Space
from trainables.studies.attempts import FOLDER
from trainables.studies.journal import (
    JOURNAL,
    good_length,
    open_journal,
    refuse_another_journal,
    refuse_lost_journal,
)
from trainables.studies.locks import LOCK
from trainables.studies.study_difference import PINNED, Spec, difference, leaf, shown

if TYPE_CHECKING:
    from trainables.studies.remote_study import RemoteStudy

SCHEMA_VERSION = 1
STUDY = "study"
SEEN, TOKEN = "seen", "token"  # beginning and end of the name of a file that all nodes are asked to see
_UNWRITTEN = ".study.yaml.*.tmp"  # left by a start that was killed while it wrote

_FILES, _FOLDERS = (
    ("study.yaml", JOURNAL, LOCK),
    ("trials", "corpus", "encoder", "stages", "tune", "set_aside"),
)
_FILES_OF_A_TRIAL = ("config.yaml", "history.jsonl")
_FOLDERS_OF_A_TRIAL = (FOLDER, "checkpoint", "best", "predictions")

NUMERICS = ("device", "precision", "threads")
"""What the first start found for ``auto``."""
FORKED_FROM = "forked_from"
"""Key of study.yaml: ``study``, the folder that trials were taken over from, and how many (:mod:`trainables.studies.fork`)."""


@dataclass(frozen=True)
class StudyFolder:
    """An opened study folder; ``remote``: the study in an object store that it is the working copy of."""

    path: Path
    spec: Spec
    remote: RemoteStudy | None = None

    def trial(self, number: int) -> Path:
        """Folder of a trial."""
        return self.path / "trials" / f"{number:05d}"

    @property
    def stages(self) -> Path:
        """Folder of the stage store."""
        return self.path / "stages"

    def journal(self, sampler: optuna.samplers.BaseSampler) -> optuna.Study:
        """Optuna's study in the folder's journal; a last record that a crash tore is cut off.

        Raises:
            UserError: a record before the last one is damaged.
        """
        storage = open_journal(self.path, self.remote.appended) if self.remote else open_journal(self.path)
        try:
            return optuna.load_study(study_name=STUDY, storage=storage, sampler=sampler)
        except KeyError:
            return optuna.create_study(
                storage=storage, study_name=STUDY, sampler=sampler, direction="maximize"
            )

    def set_aside(self, known: Set[int]) -> list[str]:
        """Move the folders of trials that the journal does not know of to ``set_aside/``, and return their names.

        A journal that lost its end, or an older copy of it, gives their numbers to other trials.

        Args:
            known: numbers of the trials that the journal has whole.
        """
        moved = []
        for trial in sorted(self.path.glob("trials/[0-9]*")):
            if trial.name.isascii() and trial.name.isdigit() and int(trial.name) not in known:
                place = self.path / "set_aside" / trial.name
                place.parent.mkdir(exist_ok=True)
                while place.exists():
                    place = place.with_name(f"{place.name}.again")
                trial.rename(place)
                moved.append(trial.name)
        return moved

    def clear_leftovers(self, stages: Path | None = None) -> None:
        """Remove what earlier drivers that were killed left: half-made entries, Ray Tune's own files.

        Args:
            stages: the stage store in use, into which other searches may write; None: the study's own.
        """
        clear_abandoned(stages or self.stages)
        clear_unfinished(self.path / "corpus")
        for unwritten in self.path.glob(_UNWRITTEN):
            unwritten.unlink()
        clear_of_dead(stages or self.stages, TOKEN)
        for token in self.path.glob(f".{SEEN}.*.{TOKEN}"):  # the study's lock is held: nobody's
            token.unlink()
        shutil.rmtree(self.path / "tune", ignore_errors=True)

    def drop(self, number: int, model: bool) -> None:
        """Drop the checkpoint of a finished trial, which it needs no more, and its model if that is not kept."""
        if self.remote:
            self.remote.drop(number, ["checkpoint", "best"] if model else ["checkpoint"])
        self._remove(number, "checkpoint")
        reach("models.dropping")
        if model:
            self._remove(number, "best")

    def _remove(self, number: int, name: str) -> None:
        """Remove a folder of a trial, and what a worker that was killed left half done beside it."""
        for folder in (self.trial(number) / name, *self.trial(number).glob(f".{name}.*")):
            shutil.rmtree(folder, ignore_errors=True)


def holds_anything(path: Path) -> bool:
    """Whether a folder holds more than what a start leaves there that ended before its study.yaml was written."""
    left = (LOCK, _UNWRITTEN, f".{SEEN}.*.{TOKEN}")
    return path.is_dir() and any(not any(map(entry.match, left)) for entry in path.iterdir())


def read_spec(path: Path) -> Spec | None:
    """Content of a folder's study.yaml; None where there is no study.

    Raises:
        UserError: the folder holds other things, a damaged study.yaml, or a newer one.
    """
    file = path / "study.yaml"
    refuse_irregular(file)
    if not file.is_file():
        if holds_anything(path):
            raise UserError(f"--study {path}: the folder is not empty and holds no study; choose another one")
        if path.exists() and not path.is_dir():
            raise UserError(f"--study {path}: not a folder")
        return None
    spec = read_record(file)
    if "schema_version" not in spec:
        raise UserError(f"{file}: damaged, not a study description (it has no schema_version)")
    version = spec["schema_version"]
    if version != SCHEMA_VERSION:
        raise UserError(
            f"{file}: schema version {shown(version)}; this program reads version {SCHEMA_VERSION}"
        )
    return spec


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


def refuse_another_study(path: Path, wanted: Spec, option: str = "--study") -> Spec | None:
    """Return what study.yaml says, or None where there is no study yet.

    Args:
        path: the study's folder.
        wanted: its :func:`identity`.
        option: of the command line that names the folder.

    Raises:
        UserError: the folder cannot be used, its journal is damaged or another study's, or space, data, encoder or seed are others;
            the message names the difference.
    """
    stored = read_spec(path)
    refuse_strangers(path)
    if stored is None:
        return None
    _refuse_other_kinds(path, option)
    good_length(path)
    refuse_lost_journal(path)
    check_whole(path, stored)
    refuse_another_journal(path, stored, named_owner(path / JOURNAL))
    for dotted in PINNED:
        if found := difference(stored, wanted, dotted):
            forkable = ", or take over what still holds with --fork NEW" if option == "--study" else ""
            raise UserError(f"{option} {path}: made with {found}; choose another {option} folder{forkable}")
    return stored


def _refuse_other_kinds(path: Path, option: str) -> None:
    otherwise = f"choose another {option}"
    refuse_other_kinds(path, _FILES, _FOLDERS, "a study", otherwise)
    trials = (entry for entry in path.glob("trials/[0-9]*") if entry.name.isascii() and entry.name.isdigit())
    for trial in trials:
        refuse_other_kinds(path / "trials", (), (trial.name,), "a study", otherwise)
        refuse_other_kinds(trial, _FILES_OF_A_TRIAL, _FOLDERS_OF_A_TRIAL, "a trial", otherwise)


def check_whole(path: Path, stored: Spec) -> None:
    """Refuse a study.yaml that lacks what pins the study.

    Raises:
        UserError: something is missing.
    """
    for dotted in (*PINNED, *NUMERICS):
        if leaf(stored, dotted) is None and dotted != "data.texts":
            raise UserError(f"{path / 'study.yaml'}: damaged: {dotted} is missing")


def pinned_sources(sources: Sources) -> dict[str, Source]:
    """Data and encoder as every configuration of a study names them."""
    texts = {name: text.fingerprint for name, text in sources.corpus.texts.items()}
    corpus, encoder = sources.corpus, sources.encoder
    return {
        "data": Source(path=str(corpus.path), fingerprint=corpus.fingerprint, texts=texts),
        "encoder": Source(path=str(encoder.folder), fingerprint=encoder.fingerprint),
    }


def origin_note(path: Path, stored: Spec | None) -> Spec:
    """What study.yaml says of the study that this one is a fork of: ``forked_from``, or nothing.

    Raises:
        UserError: not everything was taken over yet.
    """
    note = (stored or {}).get(FORKED_FROM)
    if note is None:
        return {}
    if not isinstance(note, dict) or "study" not in note:
        raise UserError(f"{path / 'study.yaml'}: damaged: {FORKED_FROM}")
    if "trials" not in note:
        raise UserError(
            f"--study {path}: taking over from {note['study']} was interrupted; give that command, with --fork, again"
        )
    return {FORKED_FROM: note}


def make_folder(path: Path, spec: Spec, remote: RemoteStudy | None = None) -> StudyFolder:
    """Write study.yaml, of a new study or with new targets.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        write_text(path / "study.yaml", sealed_yaml(spec))  # first of all: it makes the folder a study
        reach("study.after")
        (path / "trials").mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"--study {path}: cannot be written: {why_refused(error, path)}") from None
    if remote:
        remote.describe()
    return StudyFolder(path, spec, remote)
