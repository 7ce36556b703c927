"""A study folder as data frames: what was searched, its trials, epochs and predictions.

Reading never writes, locks or creates anything, so a study can be read while it runs
and from a folder that is not ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from optuna.trial import FrozenTrial

from analysis.description import Factor, TaskInfo, read_description
from analysis.foreign_description import foreign_description
from analysis.journal import read_trials
from analysis.study_copies import fetch_study
from analysis.trial_files import Damaged, last_scored, read_epochs, read_outputs
from analysis.trial_rows import trials_frame
from minbert.errors import UserError
from minbert.files.sealed import is_unchanged
from minbert.history import missing_line
from minbert.remote.urls import is_url

WORDS = {"pruned": "stopped early", "running": "begun", "waiting": "begun"}
"""States that a reader is told in other words, as ``trainables.status`` tells them: nothing in a study says whether a trial
that has not ended runs, or waits for the next search."""
_CONFIG = "config.yaml"
_WITHOUT_CONFIG = "bring it back from a copy before the trial is trained again"


class Study:
    """A study folder; the frames are read when they are first asked for and then kept."""

    def __init__(
        self, path: Path, meta: dict[str, Any], factors: list[Factor], tasks: dict[str, TaskInfo]
    ) -> None:
        self.path = path
        self.meta = meta
        self.factors = factors
        self.tasks = tasks
        self.damaged: dict[Path, str] = {}
        """Files of trials that were asked for and cannot be used, with the reason: predictions count as not stored,
        of a history the epochs in question are left out; a configuration serves nothing but to train its trial again."""
        self._unknown: list[str] = []  # folders of trials that the journal does not know, or not whole
        self._ends_otherwise = set[int]()  # than the journal says, as far as histories were read

    @property
    def name(self) -> str:
        """The name that study.yaml gives, as a rule that of the space."""
        return str(self.meta["name"])

    @property
    def metric_columns(self) -> list[str]:
        """``{select,report,dev}/{task,score}``."""
        return [f"{half}/{name}" for half in ("select", "report", "dev") for name in (*self.tasks, "score")]

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row a trial: number, state, config_id, replicate, seed, score, best_epoch, epochs,
        {select,report,dev}/{task,score}, cost_alone, cost_paid and seconds (in seconds), cause,
        started, finished, and one column a factor (None or NaN where it was not active; the level
        null is ``description.NULL``).

        ``score`` is the select score at the best epoch; of a trial that did not end, so far.

        Raises:
            UserError: the journal is damaged.
        """
        try:
            return trials_frame(self._told, self.factors, self.metric_columns)
        except (AttributeError, TypeError, ValueError, OverflowError) as error:
            raise UserError(
                f"{self.path / 'journal.log'}: damaged: what it says of a trial is no number ({error})"
            ) from None

    @cached_property
    def _told(self) -> list[FrozenTrial]:
        """What the journal says of the trials."""
        folders = {
            folder.name
            for folder in self.path.glob("trials/[0-9]*")
            if folder.name.isascii() and folder.name.isdigit()
        }
        told = read_trials(self.path / "journal.log")  # after its folders: a trial is noted before it has one
        known = {trial.number for trial in told if trial.user_attrs.get("config_id")}
        self._unknown = sorted(name for name in folders if int(name) not in known)
        return told

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row an epoch: number, stage, epoch and the other fields of history.jsonl, nested
        ones flattened (``train_loss/sst``, ``select/score``). An epoch written twice counts once."""
        rows = [row for number in self.trials["number"] for row in self._epochs(int(number))]
        if not rows:
            types = {"number": "int64", "stage": "object", "epoch": "int64", "select/score": "float64"}
            return pd.DataFrame(columns=list(types)).astype(types)
        frame = pd.DataFrame(rows)
        return frame.drop_duplicates(["number", "stage", "epoch"], keep="last", ignore_index=True)

    @cached_property
    def scored_epochs(self) -> pd.DataFrame:
        """The rows of ``history`` that count for the score: evaluated epochs of a trial's last stage."""
        history = self.history
        if "select/score" not in history:
            return history.head(0)
        final = history["final_stage"].eq(True) if "final_stage" in history else history["number"].eq(-1)
        # Older studies do not say which stage is the last; a trial that is not running or failed got there.
        ended = self.trials.loc[self.trials["state"].isin(["complete", "pruned"]), "number"]
        unsaid = history["number"].isin(ended) & ~history["number"].isin(history.loc[final, "number"])
        last = history["stage"] == history.groupby("number")["stage"].transform("last")
        return history[(final | (unsaid & last)) & history["select/score"].notna()]

    def predictions(self, task: str, numbers: Iterable[int] | None = None) -> pd.DataFrame:
        """One row an example and trial: number, split, half, id, label, output_0 … output_{C-1}.

        ``numbers`` picks trials; by default all that completed. Trials without stored
        predictions are left out; so are damaged files, which are then named in ``damaged``.

        Raises:
            UserError: no such task.
        """
        if task not in self.tasks:
            raise UserError(f"{self.path}: no task {task!r}; the tasks are {', '.join(self.tasks)}")
        if numbers is None:
            numbers = self.trials.loc[self.trials["state"] == "complete", "number"]
        tables = [table for number in numbers if (table := self._read_predictions(task, int(number)))]
        if not tables:
            return pd.DataFrame(columns=["number", "split", "half", "id", "label", "output_0"])
        frame: pd.DataFrame = pa.concat_tables(tables, promote_options="permissive").to_pandas()
        return frame

    @property
    def damage(self) -> list[str]:
        """One line a damaged file that was met, one for all trials whose account is lost, and first of all one for a
        study.yaml that may be another study's."""
        foreign = foreign_description(self.path, self.meta, self.factors, self._told)
        lines = [foreign] if foreign else []
        lines += [
            f"{file}: {reason}; {_WITHOUT_CONFIG if file.name == _CONFIG else 'left out'}"
            for file, reason in sorted(self.damaged.items())
        ]
        if self._unknown and self._told:
            named = f"{', '.join(self._unknown[:3])}{' …' * (len(self._unknown) > 3)}"
            lines.append(f"{self.path / 'trials'}: {named}: not in journal.log, which lost its end; left out")
        return lines

    @property
    def unknown_folders(self) -> list[str]:
        """Names of the folders of trials that the journal did not know, or not whole, when it was read; one is noted there
        before it has a folder.

        Raises:
            UserError: the journal is damaged.
        """
        _ = self._told
        return self._unknown

    def trial_folder(self, number: int) -> Path:
        """Folder of a trial's files, whether or not it is there."""
        return self.path / "trials" / f"{number:05d}"

    def config_file(self, number: int) -> Path:
        """The configuration that a trial trains, whether or not it is there."""
        return self.trial_folder(number) / _CONFIG

    def history_file(self, number: int) -> Path:
        """A trial's epochs, one a line, whether or not the file is there."""
        return self.trial_folder(number) / "history.jsonl"

    def predictions_file(self, number: int, task: str) -> Path:
        """A trial's outputs for the examples of a task, whether or not they are stored."""
        return self.trial_folder(number) / "predictions" / f"{task}.parquet"

    def _read_predictions(self, task: str, number: int) -> pa.Table | None:
        file = self.predictions_file(number, task)
        if number in self._ended and self._is_gone(number):
            return None
        info = self.tasks[task]
        sealed = number in self._sealed
        try:
            table = read_outputs(file, info.kind, info.classes, self.run_names.get(number, ""), sealed)
            if table is not None and number in self._ends_otherwise:
                raise Damaged("its history does not end as the journal says")
        except Damaged as error:
            # Whoever tells the reason names the file.
            self.damaged[file] = str(error).removeprefix(f"{file.name} ")
            return None
        if table is None:
            if sealed and number in self._ends:
                self.damaged[file] = "is gone"
            return None
        return table.add_column(0, "number", pa.array([number] * len(table), pa.int64()))

    @cached_property
    def run_names(self) -> dict[int, str]:
        """Configuration and seed of each trial, as its files name them."""
        rows = self.trials[["number", "config_id", "seed"]].itertuples(index=False)
        return {number: f"{configuration} {seed}" for number, configuration, seed in rows}

    @cached_property
    def _sealed(self) -> frozenset[int]:
        """Trials whose files say whose they are, which those of older studies do not."""
        history = self.history
        return frozenset(history.loc[history["of"].notna(), "number"]) if "of" in history else frozenset()

    def _is_gone(self, number: int) -> bool:
        """Whether the files of a trial that ended are not there any more, which is then damage."""
        for path in (self.path / "trials", self.trial_folder(number)):
            if not path.is_dir():
                reason = "is no folder" if path.exists() else "is gone"
                self.damaged[path] = f"{reason}: its histories and predictions are missing"
                return True
        return False

    @cached_property
    def _ended(self) -> frozenset[int]:
        """Trials whose files must be there."""
        return frozenset(self.trials.loc[self.trials["state"].isin(["complete", "pruned"]), "number"])

    def _epochs(self, number: int) -> Iterator[dict[str, Any]]:
        file = self.history_file(number)
        if f"{number:05d}" in self._unknown:
            return
        if number in self._ended and not self._is_gone(number) and not file.exists():
            self.damaged[file] = "is gone"
        self._check_config(number)
        epochs = list(read_epochs(file, self.run_names.get(number, "")))
        damaged = [record for record in epochs if isinstance(record, Damaged)]
        records = [_flat(record) for record in epochs if not isinstance(record, Damaged)]
        if damaged:
            self.damaged[file] = str(damaged[-1])
        elif number in self._ends and file.exists() and not self._ends_as_told(number, records):
            self._ends_otherwise.add(number)
            self.damaged[file] = f"does not end as the journal says (epoch {self._ends[number][0]})"
            return
        elif line := missing_line(records):
            self.damaged[file] = f"line {line} is missing"
        yield from ({"number": number, **record} for record in records)

    def _check_config(self, number: int) -> None:
        file = self.config_file(number)
        if number in self._ended and file.parent.is_dir() and not file.exists():
            self.damaged[file] = "is gone"
        elif file.is_file() and not ((content := file.read_bytes()) and is_unchanged(content)):
            self.damaged[file] = "is not what was written (its checksum differs)"

    def _ends_as_told(self, number: int, records: list[dict[str, Any]]) -> bool:
        """Whether the history of a trial that ended has the journal's last score; that of an older study may have none."""
        end = last_scored(records)
        return end == self._ends[number] or (end is None and bool(records) and "of" not in records[0])

    @cached_property
    def _ends(self) -> dict[int, tuple[int, float]]:
        """The last scored epoch of each trial that ended, with its score, as the journal has them."""
        told = {
            trial.number: trial.intermediate_values for trial in self._told if trial.number in self._ended
        }
        return {number: max(scores.items()) for number, scores in told.items() if scores}


def load(path: str | Path) -> Study:
    """Open the study folder at ``path``, or the copy of a study in an object store that a URL names.

    Raises:
        UserError: no such folder, not a study folder, made by a newer version, or damaged.
        OSError: the object store is away.
    """
    folder = fetch_study(str(path)) if is_url(str(path)) else Path(path)
    meta, description = read_description(folder)
    return Study(folder, meta, description.factors, description.tasks)


def _flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}/"))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
