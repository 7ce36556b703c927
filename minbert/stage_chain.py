"""The states that a training passes on its way, by their keys in the stage store."""

from __future__ import annotations

import math
from dataclasses import dataclass

from minbert.canonical import extends_itself, stage_key
from minbert.config import TrainConfig


@dataclass(frozen=True)
class StageEnd:
    """A state that others may go on from: after some epochs of a stage that is not the last one.

    Attributes:
        stage: name of the stage.
        epochs: epochs of it that are done; a fraction only at the stage's end.
        key: its key in the stage store.
    """

    stage: str
    epochs: float
    key: str


def stage_ends(config: TrainConfig) -> list[StageEnd]:
    """What a configuration's training publishes before its last stage, in its order."""
    return [
        StageEnd(name, epochs, stage_key(config, name, epochs))
        for name, _ in config.running_stages()[:-1]
        for epochs in published_epochs(config, name)
    ]


def published_epochs(config: TrainConfig, name: str) -> list[float]:
    """After how many epochs a stage's state is published: after each where the stage extends itself, else at its end."""
    end = config.stages[name].epochs
    inner = range(1, math.ceil(end)) if extends_itself(config, name) else ()
    return [*inner, end]
