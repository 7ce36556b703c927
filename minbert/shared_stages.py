"""What a trial takes from the stage store and gives to it.

Epochs of a stage that extends itself form a chain: three contain one and two, and whoever finds a beginning goes on
from there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from minbert.canonical import extends_itself, stage_key
from minbert.config import MultitaskStage, TrainConfig
from minbert.errors import TrainingFailure
from minbert.history import Record, cost_paid, was_split
from minbert.model import MultitaskModel
from minbert.stage_chain import published_epochs
from minbert.stages import StageState, StageStore
from minbert.training import StageTrainer

_SHARED_FACTS = (
    "train_loss",
    "task_examples",
    "gradients",
    "select",
    "report",
    "dev",
    "measures",
    "constant",
    "geometry",
)


_MEASURED_LENGTH = "geometry_max_length"
"""The geometry is that of sentences cut to so many tokens, which the key of a stage says nothing of."""


class SharedStages:
    """A configuration's stages in a store.

    Args:
        config: the trial's configuration, pinned.
        store: where stages are.
    """

    def __init__(self, config: TrainConfig, store: StageStore) -> None:
        self._config, self._store = config, store

    def take(self, model: MultitaskModel, trainer: StageTrainer, name: str) -> Record | None:
        """Bring a model and the trainer of a stage to the end of the stage, or of its longest published beginning.

        Returns:
            The history record of what was taken; None where nothing is there.

        Raises:
            TrainingFailure: another trial found that the stage fails.
        """
        stage = self._config.stages[name]
        ends = {
            epochs: stage_key(self._config, name, epochs) for epochs in published_epochs(self._config, name)
        }
        for epochs, key in reversed(ends.items()):
            state = self._store.get(key)
            if state is None:
                if failure := self._store.failure(key):
                    raise failure
                continue
            if epochs != stage.epochs and not state.moments:  # nothing to go on from
                continue
            model.load_state_dict(state.weights, strict=False)
            epoch = math.ceil(epochs)
            if epoch < trainer.last_epoch:
                trainer.load(epoch, state.step_number, state.moments)
            else:
                trainer.epoch, trainer.optimiser.step_number = epoch, state.step_number
            facts = dict(state.facts)
            if facts.pop(_MEASURED_LENGTH, None) != self._config.max_length:
                facts.pop("geometry", None)
            return {
                "stage": name,
                "epoch": epoch,
                "step": state.step_number,
                "shared": True,
                **facts,
                "seconds_saved": state.seconds,
            }
        return None

    def note_failure(self, trainer: StageTrainer, name: str, failure: TrainingFailure) -> None:
        """Tell the store of a failure that every training of the running epoch of a stage meets."""
        if failure.cause == "nan" and trainer.micro_batch(trainer.epoch) is None:
            reached = [each for each in published_epochs(self._config, name) if each >= trainer.progress]
            self._store.put_failure(stage_key(self._config, name, reached[0]), failure)

    def publish(
        self, model: MultitaskModel, trainer: StageTrainer, name: str, records: Sequence[Record]
    ) -> None:
        """Give the end of an epoch to the store, where others can go on from it.

        Args:
            model, trainer, name: the stage and its state.
            records: the trial's history; the last record is of this epoch.
        """
        stage = self._config.stages[name]
        extended = extends_itself(self._config, name)
        if not trainer.finished and not extended:
            return
        # The dropout masks of smaller passes are not those that the key stands for.
        if any(map(was_split, records)):
            return
        kept = ("",) if isinstance(stage, MultitaskStage) else ("encoder.", "auxiliary.")
        weights = {key: value for key, value in model.state_dict().items() if key.startswith(kept)}
        moments = trainer.state() if extended else {}
        seconds = sum(
            cost_paid(record) + record.get("seconds_saved", 0.0)
            for record in records
            if record["stage"] == name
        )
        facts = {key: value for key, value in records[-1].items() if key in _SHARED_FACTS}
        if "geometry" in facts:
            facts[_MEASURED_LENGTH] = self._config.max_length
        state = StageState(weights, moments, trainer.optimiser.step_number, seconds, facts)
        self._store.put(stage_key(self._config, name, trainer.progress), state)
