"""What the files of a study tell about it: read only, without its lock, also while a driver writes them."""

from __future__ import annotations

import functools
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.continuing import continuing
from analysis.near_studies import near_studies
from minbert.config import TrainConfig
from minbert.errors import UserError
from minbert.files.journal_owner import named_owner
from minbert.files.strangers import refuse_irregular
from minbert.files.yaml_dialect import read_record, shorten
from minbert.history import Record
from minbert.now import NOW
from minbert.remote.journal_segments import FOLDER as SEGMENTS
from minbert.remote.object_store import ObjectStore, Stored, check_reachable
from minbert.yaml_reader import load_config
from trainables.spaces.runs import RUN
from trainables.studies.attempts import FOLDER, number_of
from trainables.studies.driver_sign import Driver, find_driver
from trainables.studies.journal import (
    JOURNAL,
    good_length,
    read_trials,
    refuse_another_journal,
    refuse_lost_journal,
)
from trainables.studies.ledger import EXHAUSTED, equal_cause, is_counted
from trainables.studies.remote_lease import FOLDER as DRIVERS
from trainables.studies.remote_lease import HOLDS, STALE_SECONDS
from trainables.watching.epochs import read_epochs, read_underway
from trainables.watching.overview import Overview, Span, Tally
from trainables.watching.running_trials import Running, running_trial, telling

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

_MOST_TRIALS = 10**9
_TIMED = 200
"""So many of the newest trials are asked how long they ran; each costs a look into its folder."""


class NotYetBegun(UserError):
    """A driver holds the folder of a study that has no description yet."""

    def __init__(self, study: Path, driver: Driver) -> None:
        self.happening = f"{study}: process {driver.process} is about to begin a study there"
        super().__init__(f"{self.happening}; look again soon")


@dataclass(frozen=True)
class StudyState:
    """A study as its files tell it.

    Attributes:
        place: where it is, a folder or a URL.
        overview: what it has come to.
        driver: the last one; None: the study was never driven where it lies.
        command: the command line that continues the study; empty where study.yaml has none.
        damage: what of its journal cannot be read; else empty.
        lost: that the journal is gone, damaged or another study's, and what to do; empty where a search can go on with it.
        written: seconds since a driver or a trial wrote last; None where nothing was written yet.
        stopped_by: the cause that the last trials all failed for, after which a search ends; else empty.
        exhausted: whether the space has fewer runs than were asked for.
    """

    place: str
    overview: Overview
    driver: Driver | None
    command: str
    damage: str
    written: float | None
    stopped_by: str
    exhausted: bool = False
    lost: str = ""

    @property
    def is_finished(self) -> bool:
        """Whether all trials have ended."""
        return self.overview.done >= self.overview.target

    @property
    def may_change(self) -> bool:
        """Whether a driver is at work, or may be, on another host."""
        return self.driver is not None and self.driver.at_work is not False


def read_state(study: Path) -> StudyState:
    """Look at a study.

    Raises:
        NotYetBegun: a driver is about to begin one there.
        UserError: no study is there, or its description or journal cannot be read at all.
    """
    return _read(study, find_driver(study))


def read_remote(store: ObjectStore, fetch: Callable[[str], Path]) -> StudyState:
    """Look at a study in an object store.

    Args:
        store: below the study's URL.
        fetch: brings what is new of a study to this machine, and says where it is.

    Raises:
        UserError: the store cannot be used, or no study is there, or it cannot be read at all.
        OSError: the store is away.
    """
    check_reachable(store)
    stored = store.names()  # first: what a driver has done that is gone by now will all be fetched
    copy, driver = fetch(store.url), _remote_driver(store, stored)
    _date(copy, stored)
    try:
        state = _read(copy, driver)
    except UserError as error:
        raise UserError(str(error).replace(str(copy), store.url)) from None
    here, there = str(copy), store.url
    return replace(
        state, place=there, damage=state.damage.replace(here, there), lost=state.lost.replace(here, there)
    )


def _read(study: Path, driver: Driver | None) -> StudyState:
    spec = _spec(study, driver)
    trials, damage = read_trials(study)
    lost = _lost(study, spec, bool(damage))
    counted = [trial for trial in trials if is_counted(trial)]
    at_work = driver is not None and driver.at_work is not False
    since = driver.since if driver is not None and at_work else None
    tally = tallied(study, str(spec["name"]), list(spec["tasks"]), counted)
    now = time.time()
    begun = [(trial, _begun(study, trial, since)) for trial in counted if trial.state.name == "RUNNING"]
    waiting = [trial.number for trial, began in begun if began is None] if since is not None else []
    if len(waiting) == len(begun):
        waiting = waiting[1:]  # none runs that could make a stage for the first one: it is about to start
    at_hand = [(trial, began) for trial, began in begun if trial.number not in waiting]
    epochs = {
        trial.number: read_epochs(trial_folder(study, trial.number) / "history.jsonl") for trial, _ in at_hand
    }
    others = [record for records in epochs.values() for record in telling(records[-1:])]
    running = [_running(study, trial, began, now, epochs[trial.number], others) for trial, began in at_hand]
    return StudyState(
        str(study),
        # What was interrupted is finished also where fewer are asked for by now.
        tally.overview(max(_runs(spec), len(counted)), running, waiting, since),
        driver,
        continuing(study, str(spec.get("command") or "")),
        damage,
        _since_written(study, [trial.number for trial in running], now),
        _equal_failures(counted),
        _runs(spec) < spec["trials"],
        lost,
    )


def _lost(study: Path, spec: Mapping[str, Any], damaged: bool) -> str:
    """What a search would say of a journal that is gone, damaged or another study's; empty where it can go on with it."""
    try:
        refuse_lost_journal(study)
        if damaged:
            good_length(study)
        else:
            refuse_another_journal(study, spec, named_owner(study / JOURNAL))
    except UserError as lost:
        return str(lost)
    return ""


def _remote_driver(store: ObjectStore, stored: Mapping[str, Stored]) -> Driver | None:
    """The driver that gave the last sign of life, and not only asks for the study; it writes study.yaml when it starts."""
    signs = {name: each.changed for name, each in stored.items() if name.startswith(f"{DRIVERS}/")}
    for newest in sorted(signs, key=lambda name: signs[name], reverse=True):
        try:
            sign = json.loads(store.read(newest) or b"{}")
        except ValueError:
            continue
        if isinstance(sign, dict) and isinstance(sign.get("process"), int) and sign.get(HOLDS, True):
            silent = time.time() - signs[newest].timestamp()
            since = stored["study.yaml"].changed.timestamp() if "study.yaml" in stored else 0.0
            return Driver(str(sign.get("host")), sign["process"], silent < STALE_SECONDS, since)
    return None  # or it has just ended


def _date(copy: Path, stored: Mapping[str, Stored]) -> None:
    """Let files of a copy have the times at which the store got them, and note the starts of trials, which are not fetched."""
    written = 0.0
    for name, each in stored.items():
        file, time_of = copy / name, each.changed.timestamp()
        if name.startswith(f"{SEGMENTS}/"):
            file, time_of = copy / JOURNAL, (written := max(written, time_of))
        elif not re.fullmatch(rf"trials/\d{{5,9}}/(history\.jsonl|{FOLDER}/\d{{4,9}})", name):
            continue
        with suppress(FileNotFoundError):  # not sent yet, or another command fetches the study, too
            if file.parent.name == FOLDER:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
            os.utime(file, (time_of, time_of))


def tallied(study: Path, name: str, tasks: list[str], trials: Iterable[FrozenTrial]) -> Tally:
    """Count the trials that ended, in the order of their ends."""
    tally = Tally(name, tasks)
    ended = sorted(
        (trial for trial in trials if trial.state.is_finished()),
        key=lambda trial: (_ended(trial), trial.number),
    )
    for place, trial in enumerate(ended):
        tally.add(trial, _span(study, trial) if place >= len(ended) - _TIMED else None)
    return tally


def last_attempt(study: Path, number: int) -> float | None:
    """When a trial was started on a worker last, in seconds since 1970; None: it never was."""
    try:
        starts = (trial_folder(study, number) / FOLDER).iterdir()
        return max((file.stat().st_mtime for file in starts if number_of(file.name)), default=None)
    except OSError:
        return None


def trial_folder(study: Path, number: int) -> Path:
    """Folder of a trial's files, whether or not it is there."""
    return study / "trials" / f"{number:05d}"


def _spec(study: Path, driver: Driver | None) -> dict[str, Any]:
    """study.yaml, with what an overview needs.

    Raises:
        UserError: it is not there or cannot be used.
    """
    if not study.is_dir():
        raise UserError(
            f"{study}: {'not a folder' if study.exists() else 'no such folder'}{near_studies(study)}"
        )
    file = study / "study.yaml"
    refuse_irregular(file)
    if not file.is_file():
        if driver is not None and driver.at_work:
            raise NotYetBegun(study, driver)
        raise UserError(f"{study}: not a study folder (it has no study.yaml){near_studies(study)}")
    spec = read_record(file)
    kinds: Mapping[str, type] = {"name": str, "tasks": dict, "trials": int}
    for key, kind in kinds.items():
        if not isinstance(spec.get(key), kind):
            raise UserError(f"{file}: damaged, or not a study description: it has no {key}")
    if not 0 <= spec["trials"] <= _MOST_TRIALS:
        raise UserError(f"{file}: damaged: a study of {shorten(spec['trials'])} trials")
    refuse_irregular(study / JOURNAL)
    return spec


def _runs(spec: Mapping[str, Any]) -> int:
    """How many trials there are to run: those that were asked for, or all that the space has."""
    found = spec.get(EXHAUSTED)
    return int(found if type(found) is int and 0 < found < spec["trials"] else spec["trials"])


def _begun(study: Path, trial: FrozenTrial, since: float | None) -> float | None:
    """When the driver that is at work since then had a worker start a trial last; None: it has not, or none is."""
    began = last_attempt(study, trial.number)
    return began if began is not None and since is not None and began >= since else None


def _running(
    study: Path,
    trial: FrozenTrial,
    began: float | None,
    now: float,
    records: list[Record],
    others: list[Record],
) -> Running:
    folder = trial_folder(study, trial.number)
    underway = read_underway(folder, began) if began is not None else None
    noted = _changed(folder / "history.jsonl") or now
    elapsed = max(now - began, 0.0) if began is not None else 0.0
    since = min(max(now - noted, 0.0), elapsed)  # of a trial that goes on, no longer than it does so
    name = str(trial.params.get(RUN, ""))
    config = _config(folder / "config.yaml")
    return running_trial(trial.number, name, config, records, elapsed, since, underway, others)


def _config(file: Path) -> TrainConfig | None:
    changed = _changed(file)
    return None if changed is None else _config_of(file, changed)


@functools.lru_cache(maxsize=1000)
def _config_of(file: Path, changed: float) -> TrainConfig | None:
    try:
        return load_config(file)
    except (UserError, OSError):
        return None


def _span(study: Path, trial: FrozenTrial) -> Span | None:
    """When a trial ran; one that was continued, as if it had done all in one go."""
    if trial.datetime_start is None or trial.datetime_complete is None:
        return None
    asked, ended = trial.datetime_start.timestamp(), trial.datetime_complete.timestamp()
    began = last_attempt(study, trial.number) or asked
    paid = trial.user_attrs.get("cost_paid") or 0.0
    return max(asked, min(began, ended - paid)), ended


def _ended(trial: FrozenTrial) -> float:
    return trial.datetime_complete.timestamp() if trial.datetime_complete else 0.0


def _changed(file: Path) -> float | None:
    try:
        return file.stat().st_mtime
    except OSError:
        return None


def _since_written(study: Path, running: Iterable[int], now: float) -> float | None:
    trials = [trial_folder(study, number) for number in running]
    files = [study / JOURNAL, *(folder / name for folder in trials for name in ("history.jsonl", NOW))]
    times = [changed for file in files if (changed := _changed(file)) is not None]
    return max(now - max(times), 0.0) if times else None


def _equal_failures(trials: Iterable[FrozenTrial]) -> str:
    ended = sorted((trial for trial in trials if trial.state.is_finished()), key=_ended)
    return equal_cause(
        [trial.user_attrs.get("cause", "") if trial.state.name == "FAIL" else "" for trial in ended]
    )
