"""What a trial has done so far: the epochs of its history, and the state to go on from.

An epoch counts once its line stands in ``history.jsonl``; ``checkpoint/`` is of the last epoch there, or of the one
that was about to be noted. Whatever is not what was written is not used: the trial then starts over.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from minbert.choice import Choice
from minbert.durable import append_json, publish_folder, read_json_lines, settle_folder, write_text
from minbert.failpoints import reach
from minbert.history import Record
from minbert.model import MultitaskModel
from minbert.sealed import is_intact
from minbert.stages import prefixed, split_prefixed
from minbert.training import StageTrainer


@dataclass(frozen=True)
class Checkpoint:
    """The state after an epoch of a stage."""

    stage: str
    epoch: int
    step_number: int
    weights: dict[str, Tensor]
    moments: dict[str, Tensor]

    def restore(self, model: MultitaskModel, trainer: StageTrainer) -> None:
        """Bring a model and the trainer of the stage to this state."""
        model.load_state_dict(self.weights)
        trainer.load(self.epoch, self.step_number, self.moments)


class TrialLog:
    """The history and the checkpoint of a trial's folder.

    Args:
        folder: the trial's folder.
        choice: what is kept of the best epoch, without which a history cannot be continued.

    Attributes:
        records: the epochs noted so far.
        before_writing: is called before an epoch is noted.
    """

    def __init__(self, folder: Path, choice: Choice) -> None:
        self._folder, self._choice = folder, choice
        self.records: list[Record] = []
        self.before_writing: Callable[[], None] = lambda: None

    def open(self, stage: str, last_epoch: int) -> Checkpoint | None:
        """Read what is there, mended where a crash or damage left something half done.

        Args:
            stage: the trial's last stage.
            last_epoch: of that stage.

        Returns:
            What to go on from; None where the trial is finished or starts from the beginning.
        """
        settle_folder(self._folder / "checkpoint")
        self._choice.settle()
        try:
            self.records = read_json_lines(self._folder / "history.jsonl")
        except ValueError:
            self._start_over()
            return None
        if not self.has(stage, last_epoch):
            return self._checkpoint()
        if not self._choice.is_intact():
            self._start_over()
        return None

    def has(self, stage: str, epoch: int) -> bool:
        """Whether an epoch of a stage is noted."""
        return any((record["stage"], record["epoch"]) == (stage, epoch) for record in self.records)

    def add(self, record: Record) -> None:
        """Note an epoch: from here on it counts."""
        self.before_writing()
        append_json(self._folder / "history.jsonl", record)
        self.records.append(record)

    def save(self, model: MultitaskModel, trainer: StageTrainer, record: Record) -> None:
        """Keep the state after an epoch that will be noted next."""
        with publish_folder(self._folder / "checkpoint") as temporary:
            save_file(prefixed(model.state_dict(), trainer.state()), temporary / "state.safetensors")
            write_text(temporary / "manifest.json", json.dumps({"record": record}))

    def _checkpoint(self) -> Checkpoint | None:
        """The saved state, which is of the last epoch noted or one ahead of it.

        A crash between saving an epoch and noting it leaves the note to be written now.
        """
        folder = self._folder / "checkpoint"
        if not is_intact(folder):
            self._start_over()
            return None
        record = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["record"]
        if "chosen" in record and not self._choice.is_intact():
            self._start_over()
            return None
        weights, moments = split_prefixed(load_file(folder / "state.safetensors"))
        if record != (self.records[-1] if self.records else None):
            self.add(record)
            reach("history.caught_up")
        return Checkpoint(record["stage"], record["epoch"], record["step"], weights, moments)

    def _start_over(self) -> None:
        self.records.clear()
        (self._folder / "history.jsonl").unlink(missing_ok=True)
        reach("history.dropped")
        for name in ("checkpoint", "best", "predictions"):
            shutil.rmtree(self._folder / name, ignore_errors=True)
