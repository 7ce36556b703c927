"""A study that begins with what another one already knows: ``--fork NEW``.

Every trial of the other study that holds in the new one (:mod:`trainables.studies.holding`) is copied, folder first, then its
record in the journal: that record makes it count. So a fork that was killed goes on where it was. The other study is
only read. Trials that were taken over cost the new study nothing (``cost_paid`` 0) and say which they were
(``forked_from``).
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from rich.console import Console

from minbert.canonical import run_name
from minbert.data_checks import check_data
from minbert.errors import UserError
from minbert.files.durable import publish_folder, write_text
from minbert.files.leftovers import clear_unfinished
from minbert.files.sealed import CHECKSUMS, is_intact
from minbert.files.strangers import refuse_strangers
from minbert.sources import Sources
from minbert.yaml_reader import sealed_yaml
from trainables.spaces.around import Around
from trainables.spaces.space import Space
from trainables.studies.holding import Holding, Holdings, Objection, Study
from trainables.studies.journal import read_trials, refuse_lost_journal
from trainables.studies.locks import held
from trainables.studies.study import (
    FORKED_FROM,
    NUMERICS,
    StudyFolder,
    check_whole,
    holds_anything,
    identity,
    make_folder,
    pinned_sources,
    read_spec,
    refuse_another_study,
)
from trainables.studies.study_description import described_plan, described_study
from trainables.studies.study_difference import Spec, difference

_SHOWN_REASONS = 5
_OF_ALL_TRIALS = ("data.fingerprint", "encoder.fingerprint", "seed")


@dataclass(frozen=True)
class Fork:
    """A fork as a command line asks for it.

    Attributes:
        origin: the study that is taken over from.
        path: the new study.
        taken: what study.yaml of the new study says of it, where everything was taken over before; else empty.
    """

    origin: Path
    path: Path
    taken: Spec

    @property
    def described(self) -> Path:
        """The folder whose study.yaml says what the new study is around: the new one as soon as it is there."""
        return self.path if (self.path / "study.yaml").is_file() else self.origin


@dataclass(frozen=True)
class Wanted:
    """The new study as the command line describes it."""

    space: Space
    sources: Sources
    seed: int
    command: str = ""
    around: Around | None = None
    stages: Path | None = None

    @property
    def identity(self) -> Spec:
        """What must stay the same for it to be continued."""
        return identity(self.space, self.sources, self.seed)


def find_fork(origin: Path, path: Path) -> Fork:
    """Look at both folders.

    Args:
        origin: the study to take over from.
        path: the new study.

    Raises:
        UserError: one of them cannot be what it is to be.
    """
    one, other = Path(os.path.realpath(origin)), Path(os.path.realpath(path))
    if one == other or one in other.parents or other in one.parents:
        raise UserError(
            f"--fork {path}: is, holds or lies in the study {origin}: choose a folder apart from it"
        )
    for place in (path, *path.parents):
        if place.exists() and not place.is_dir():
            raise UserError(f"--fork {path}: {'' if place == path else f'{place} is '}not a folder")
    if not (path / "study.yaml").is_file() and holds_anything(path):
        raise UserError(f"--fork {path}: the folder is not empty and holds no study; choose another one")
    taken = _note(path, str(one))
    if not taken and (not origin.is_dir() or read_spec(origin) is None):
        raise UserError(f"--study {origin}: there is no study to take over from")
    return Fork(origin, path, taken)


def take_over(fork: Fork, wanted: Wanted, console: Console) -> Spec:
    """Copy what holds into the new study, whose lock is held, and say what that is.

    Returns:
        What study.yaml of the new study says of it.

    Raises:
        UserError: the new study was made differently, or a search runs on the other one.
    """
    refuse_another_study(fork.path, wanted.identity, "--fork")
    if fork.taken:
        return fork.taken
    check_data(wanted.space.representatives, wanted.sources)
    with held(fork.origin):
        origin = _Origin(fork, wanted)
        if not origin.in_the_way:
            _copy(fork, wanted, origin)
    _say(console, fork, origin)
    note = {
        FORKED_FROM: {**_begun(fork), "trials": len(origin.holdings.trials), "stages": len(origin.stages)}
    }
    if not origin.in_the_way:
        make_folder(fork.path, {**(read_spec(fork.path) or {}), **note})
    return note


def show_fork(fork: Fork, wanted: Wanted, console: Console) -> None:
    """Say what would be taken over; nothing is written or locked.

    Raises:
        UserError: as :func:`take_over`.
    """
    refuse_another_study(fork.path, wanted.identity, "--fork")
    if not fork.taken:
        _say(console, fork, _Origin(fork, wanted))


class _Origin:
    """The other study, and what of it holds."""

    def __init__(self, fork: Fork, wanted: Wanted) -> None:
        self.path = fork.origin
        refuse_strangers(self.path)
        self.spec = read_spec(self.path) or {}
        check_whole(self.path, self.spec)
        refuse_lost_journal(self.path)
        self.numerics = _numerics(self.spec, wanted.space)
        self.pinned = {**pinned_sources(wanted.sources), **self.numerics}
        self.trials, self.damage = read_trials(self.path)
        self.in_the_way = _in_the_way(self.spec, wanted, self.numerics)
        self.holdings, self.stages, self.damaged_stages = Holdings(), list[Path](), 0
        if self.in_the_way:
            return
        study = Study(wanted.space, self.pinned, wanted.seed)
        self.holdings = study.holdings(self.trials, self.path / "trials")
        if self.holdings.trials or not self.holdings.another_version:
            entries = sorted(entry for entry in self.path.glob("stages/[!.]*") if entry.is_dir())
            self.stages = [entry for entry in entries if is_intact(entry, entry.name)]
            self.damaged_stages = len(entries) - len(self.stages)


def _copy(fork: Fork, wanted: Wanted, origin: _Origin) -> None:
    folder = _begin(fork, wanted, origin)
    folder.clear_leftovers()
    stages = wanted.stages or folder.stages
    stages.mkdir(parents=True, exist_ok=True)
    for entry in origin.stages:
        if not (stages / entry.name).exists():
            with publish_folder(stages / entry.name, sealed=False) as temporary:
                shutil.copytree(entry, temporary, dirs_exist_ok=True)
    study = folder.journal(optuna.samplers.RandomSampler())
    known = study.get_trials(deepcopy=False)
    _drop_uncounted(folder, len(known))
    before = {trial.user_attrs.get(FORKED_FROM) for trial in known}
    for holding in origin.holdings.trials:
        if holding.trial.number not in before:
            number = len(study.get_trials(deepcopy=False))
            _copy_trial(holding, origin.path / "trials" / f"{holding.trial.number:05d}", folder.trial(number))
            study.add_trial(_told(holding))


def _begin(fork: Fork, wanted: Wanted, origin: _Origin) -> StudyFolder:
    """The new study's folder, of which study.yaml says that it is not yet all there."""
    spec = described_study(wanted.space, wanted.sources, wanted.seed, wanted.command)
    runs = described_plan(wanted.space, origin.pinned, wanted.around)
    return make_folder(fork.path, {**spec, **origin.numerics, **runs, FORKED_FROM: _begun(fork)})


def _begun(fork: Fork) -> Spec:
    return {"study": os.path.realpath(fork.origin)}


def _drop_uncounted(folder: StudyFolder, count: int) -> None:
    """Remove what a kill left: folders half copied, and one whose trial the journal does not know."""
    clear_unfinished(folder.path / "trials")
    for trial in folder.path.glob("trials/[0-9]*"):
        if trial.name.isdecimal() and int(trial.name) >= count:
            shutil.rmtree(trial)


def _copy_trial(holding: Holding, source: Path, target: Path) -> None:
    """Copy what a finished trial keeps; its model where that is whole, as any can be made again."""
    with publish_folder(target, sealed=False) as temporary:
        config = holding.config.model_dump(mode="json", exclude_none=True)
        write_text(temporary / "config.yaml", sealed_yaml(config))  # names this study's data and encoder
        shutil.copyfile(source / "history.jsonl", temporary / "history.jsonl")
        shutil.copytree(source / "predictions", temporary / "predictions")
        if _has_model(source / "best", run_name(holding.config)):
            shutil.copytree(source / "best", temporary / "best")


def _has_model(best: Path, run: str) -> bool:
    """Whether the model, or that of every task, of a run is there as it was written."""
    models = [best] if (best / CHECKSUMS).exists() else [entry for entry in best.glob("*") if entry.is_dir()]
    return bool(models) and all(is_intact(model, run) for model in models)


def _told(holding: Holding) -> FrozenTrial:
    """The trial as the new study's journal has it."""
    trial = holding.trial
    attributes = {key: value for key, value in trial.user_attrs.items() if value is not None}
    return FrozenTrial(
        number=-1,
        trial_id=-1,
        state=trial.state,
        value=trial.value,
        datetime_start=trial.datetime_start,
        datetime_complete=trial.datetime_complete,
        params=holding.params,
        distributions=holding.distributions,
        user_attrs={**attributes, "cost_paid": 0.0, FORKED_FROM: trial.number},
        system_attrs={},
        intermediate_values=trial.intermediate_values,
    )


def _numerics(spec: Spec, space: Space) -> dict[str, Any]:
    """The other study's device, precision and threads where the space leaves them open."""
    asked = space.example()
    given = {name: getattr(asked, name) for name in NUMERICS}
    return {name: spec[name] if value == "auto" else value for name, value in given.items()}


def _in_the_way(spec: Spec, wanted: Wanted, numerics: dict[str, Any]) -> str:
    """What makes every trial another one; empty: nothing does."""
    known = {**wanted.identity, **numerics}
    found = (difference(spec, known, dotted) for dotted in (*_OF_ALL_TRIALS, *NUMERICS))
    return next(filter(None, found), "")


def _note(path: Path, origin: str) -> Spec:
    """What the new study says of the fork; empty where it is still to be made.

    Raises:
        UserError: it is another study.
    """
    spec = read_spec(path) if path.is_dir() else None
    if spec is None:
        return {}
    note = spec.get(FORKED_FROM)
    if not isinstance(note, dict) or note.get("study") != origin:
        told = f"a fork of {note['study']}" if isinstance(note, dict) and "study" in note else "no fork"
        raise UserError(
            f"--fork {path}: a study already, {told}; continue it with --study {path}, or choose another folder"
        )
    return {FORKED_FROM: note} if "trials" in note else {}


def _say(console: Console, fork: Fork, origin: _Origin) -> None:
    for line in _lines(fork, origin):
        console.print(line, markup=False, highlight=False)


def _lines(fork: Fork, origin: _Origin) -> Iterator[str]:
    found = origin.holdings
    if origin.in_the_way:
        yield f"nothing of {fork.origin} holds in {fork.path}: made with {origin.in_the_way}"
        return
    stages = f"{len(origin.stages)} of {len(origin.stages) + origin.damaged_stages} stages"
    yield f"of {fork.origin}, {len(found.trials)} of {found.ended} finished trials and {stages} hold in {fork.path}"
    yield from _reasons(found.objections)
    if origin.damage:
        yield f"  not known: what came after {origin.damage}"


def _reasons(objections: list[Objection]) -> Iterator[str]:
    """A line a reason, the most frequent first, with what is so in its first trial."""
    counts = Counter(each.reason for each in objections)
    first = {each.reason: each.detail for each in reversed(objections)}
    for reason, count in counts.most_common(_SHOWN_REASONS):
        yield f"  {count} do not: {reason}{f' ({first[reason]})' if first[reason] else ''}"
    others = sum(count for _, count in counts.most_common()[_SHOWN_REASONS:])
    if others:
        yield f"  {others} do not for other reasons"
