"""Logs for TensorBoard: ``STUDY/tensorboard/NNNNN`` with the scalars of a trial, by epoch.

The driver writes them from what trials report, without a thread of its own: an epoch is on disk when it counts. Each
start writes a trial's log anew, as a continued trial hands over all of its epochs.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import scalar

from minbert.history import Record
from trainables.studies.watcher import Watcher
from trainables.watching.epochs import read_epochs
from trainables.watching.study_state import trial_folder

if TYPE_CHECKING:  # slow to import: optuna
    from optuna.trial import FrozenTrial

    from trainables.studies.ledger import Issue

FOLDER = "tensorboard"
_SHOWN = ("select", "train", "train_loss", "learning_rate", "train_seconds", "eval_seconds")
"""Fields of a record; the report half is for the end."""


class TensorBoardLogs(Watcher):
    """Writes the logs of a search; use as a context manager, which closes those of trials that still run.

    Args:
        study: the study's folder.
    """

    def __init__(self, study: Path) -> None:
        self._study = study
        self._logs: dict[int, EventsWriter] = {}

    def __enter__(self) -> TensorBoardLogs:
        return self

    def __exit__(self, *_: object) -> None:
        while self._logs:
            self._logs.popitem()[1].close()

    def catch_up(self, trials: Iterable[FrozenTrial], say: Callable[[str], None]) -> None:
        """Write the logs of trials that ended when none were asked for; ``say`` prints a line before."""
        ended = [trial.number for trial in trials if trial.state.is_finished()]
        missing = [number for number in ended if not self._folder(number).is_dir()]
        if missing:
            plural = "s" * (len(missing) != 1)
            say(f"writing the TensorBoard log{plural} of {len(missing)} earlier trial{plural}")
        for number in missing:
            self._begin(number)
            for record in read_epochs(trial_folder(self._study, number) / "history.jsonl"):
                self._write(number, record)
            self._logs.pop(number).close()

    def issued(self, issue: Issue) -> None:
        if earlier := self._logs.pop(issue.number, None):  # handed out once more, elsewhere
            earlier.close()
        shutil.rmtree(self._folder(issue.number), ignore_errors=True)
        self._begin(issue.number)

    def reported(self, issue: Issue, record: dict[str, Any]) -> None:
        self._write(issue.number, record)
        self._logs[issue.number].flush()

    def ended(self, issue: Issue, trial: FrozenTrial) -> None:
        self._logs.pop(issue.number).close()

    def _folder(self, number: int) -> Path:
        return self._study.absolute() / FOLDER / f"{number:05d}"

    def _begin(self, number: int) -> None:
        folder = self._folder(number)
        folder.mkdir(parents=True, exist_ok=True)
        self._logs[number] = EventsWriter(str(folder / "events"))

    def _write(self, number: int, record: Record) -> None:
        for name, value in scalars(record):
            event = Event(wall_time=time.time(), step=record["epoch"], summary=scalar(name, value))
            self._logs[number].write_event(event)


def scalars(record: Record) -> Iterator[tuple[str, float]]:
    """The scalars of an epoch, ``finetune/select/sst`` and so on."""
    for field in _SHOWN:
        value = record.get(field)
        if isinstance(value, Mapping):
            yield from (
                (f"{record['stage']}/{field}/{name}", float(each))
                for name, each in value.items()
                if isinstance(each, int | float)
            )
        elif isinstance(value, int | float):
            yield f"{record['stage']}/{field}", float(value)
