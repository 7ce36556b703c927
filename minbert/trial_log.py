"""What a trial has done so far: the epochs of its history, and the state to go on from.

An epoch counts once its line stands in ``history.jsonl``; ``checkpoint/`` is of the last epoch there, of the one
that was about to be noted, or of the middle of the next one. Whatever is not what was written is not used: the trial then starts over.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from minbert.choice import Choice
from minbert.files.durable import append_json, publish_folder, read_json_lines, settle_folder, write_text
from minbert.files.failpoints import reach
from minbert.files.sealed import is_intact
from minbert.history import LINE, Record
from minbert.model import MultitaskModel
from minbert.stages import prefixed, split_prefixed
from minbert.steps import UnfinishedEpoch
from minbert.training import StageTrainer


@dataclass(frozen=True)
class Checkpoint:
    """The state after an epoch of a stage, or inside one: ``unfinished`` is then what it has come to."""

    stage: str
    epoch: int
    step_number: int
    weights: dict[str, Tensor]
    moments: dict[str, Tensor]
    unfinished: UnfinishedEpoch | None = None

    def restore(self, model: MultitaskModel, trainer: StageTrainer) -> None:
        """Bring a model and the trainer of the stage to this state."""
        model.load_state_dict(self.weights)
        trainer.load(self.epoch, self.step_number, self.moments, self.unfinished)


class TrialLog:
    """The history and the checkpoint of a trial's folder.

    Args:
        folder: the trial's folder.
        run: names the run (:func:`minbert.canonical.run_name`); what is another's is not used.
        choice: what is kept of the best epoch, without which a history cannot be continued.

    Attributes:
        records: the epochs noted so far.
        before_writing: is called before an epoch is noted.
        kept: is called after an epoch was noted, or a state inside one was kept.
        splits: counts what memory was too small for so far; a state that knows of more is not gone on from.
        model_may_be_gone: whether a finished trial's model may have been dropped on purpose.
    """

    def __init__(self, folder: Path, run: str, choice: Choice) -> None:
        self._folder, self._run, self._choice = folder, run, choice
        self.records: list[Record] = []
        self.before_writing: Callable[[], None] = lambda: None
        self.kept: Callable[[], None] = lambda: None
        self.splits: Callable[[], int] = lambda: 0
        self.model_may_be_gone = False

    def open(self, stage: str, last_epoch: int, resumable: bool = True) -> Checkpoint | None:
        """Read what is there, mended where a crash or damage left something half done.

        Args:
            stage: the trial's last stage.
            last_epoch: of that stage.
            resumable: whether what is not finished may go on from what is there.

        Returns:
            What to go on from; None where the trial is finished or starts from the beginning.
        """
        settle_folder(self._folder / "checkpoint")
        self._choice.settle()
        try:
            self.records = read_json_lines(self._folder / "history.jsonl")
        except ValueError:
            self.start_over()
            return None
        if not self._is_whole():
            self.start_over()
            return None
        if not self.has(stage, last_epoch) and resumable:
            return self._checkpoint()
        if not self.has(stage, last_epoch) or not self._choice.is_intact(self.model_may_be_gone):
            self.start_over()
        return None

    def _is_whole(self) -> bool:
        """Whether all records are of this run, and each is in its line."""
        places = ((record.get("of"), record.get(LINE)) for record in self.records)
        return all(place == (self._run, line) for line, place in enumerate(places, 1))

    def has(self, stage: str, epoch: int) -> bool:
        """Whether an epoch of a stage is noted."""
        return any((record["stage"], record["epoch"]) == (stage, epoch) for record in self.records)

    def start_over(self) -> None:
        """Drop all that was done."""
        self.records.clear()
        (self._folder / "history.jsonl").unlink(missing_ok=True)
        reach("history.dropped")
        for name in ("checkpoint", "best", "predictions"):
            shutil.rmtree(self._folder / name, ignore_errors=True)

    def add(self, record: Record) -> None:
        """Note an epoch: from here on it counts."""
        record[LINE] = len(self.records) + 1
        self.before_writing()
        append_json(self._folder / "history.jsonl", record)
        self.records.append(record)
        self.kept()

    def save(self, model: MultitaskModel, trainer: StageTrainer, record: Record) -> None:
        """Keep the state after an epoch that will be noted next."""
        place = {"stage": record["stage"], "epoch": record["epoch"], "step": record["step"]}
        self._save(model, trainer.state(), {**place, "noted": len(self.records) + 1, "record": record})

    def save_unfinished(self, model: MultitaskModel, trainer: StageTrainer, stage: str) -> None:
        """Keep the state inside an epoch.

        Raises:
            TrainingFailure: a value of an earlier step that only now came from a GPU is not finite.
        """
        unfinished = trainer.unfinished()
        if unfinished is None:
            return
        place = {"stage": stage, "epoch": trainer.epoch, "step": trainer.optimiser.step_number}
        last = self.records[-1] if self.records else None
        losses = {f"losses/{name}": torch.stack(values) for name, values in unfinished.losses.items()}
        self.before_writing()
        self._save(
            model,
            {**trainer.state(), **losses},
            {**place, "noted": len(self.records), "record": last, "unfinished": unfinished.facts()},
        )
        self.kept()

    def _save(self, model: MultitaskModel, state: dict[str, Tensor], manifest: dict[str, Any]) -> None:
        with publish_folder(self._folder / "checkpoint", of=self._run) as temporary:
            save_file(prefixed(model.state_dict(), state), temporary / "state.safetensors")
            write_text(temporary / "manifest.json", json.dumps({**manifest, "splits": self.splits()}))

    def _checkpoint(self) -> Checkpoint | None:
        """The saved state, which is of the last epoch noted, one ahead of it, or inside the next.

        A crash between saving an epoch and noting it leaves the note to be written now.
        """
        folder = self._folder / "checkpoint"
        if not is_intact(folder, self._run):
            self.start_over()
            return None
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        record, missing = manifest["record"], manifest["noted"] - len(self.records)
        chosen = record is not None and "chosen" in record
        forgotten = manifest.get("splits", 0) > self.splits()
        if forgotten or missing not in (0, 1) or (chosen and not self._choice.is_intact()):
            self.start_over()
            return None
        weights, state = split_prefixed(load_file(folder / "state.safetensors"))
        if missing:
            self.add(record)
            reach("history.caught_up")
        unfinished, moments = _unfinished(manifest.get("unfinished"), state)
        place = manifest["stage"], manifest["epoch"], manifest["step"]
        return Checkpoint(*place, weights, moments, unfinished)


def _unfinished(
    facts: dict[str, Any] | None, state: dict[str, Tensor]
) -> tuple[UnfinishedEpoch | None, dict[str, Tensor]]:
    """What an epoch had come to, where there is one, and the state without its losses."""
    if facts is None:
        return None, state
    losses = {
        name.removeprefix("losses/"): list(state.pop(name).unbind())
        for name in list(state)
        if name.startswith("losses/")
    }
    return UnfinishedEpoch(**facts, losses=losses), state
