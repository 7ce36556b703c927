"""Canonical form of a configuration and the keys made from it.

Two configurations that train the same way have the same canonical form: stages that do
not run and leaves that have no effect are dropped, sources are named by their content.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from minbert.config import MultitaskStage, SimCSEStage, StageConfig, TaskConfig, TrainConfig

NUMERICS_VERSION = 1
"""Raised whenever the same configuration would give other numbers than before."""


def canonical(config: TrainConfig) -> dict[str, Any]:
    """The configuration as plain data without anything that has no effect on the result."""
    return {
        "sources": [config.data.fingerprint, config.encoder.fingerprint],
        "selection": config.selection,
        "numerics": [NUMERICS_VERSION, config.device, config.precision, config.threads],
        "model": _model(config),
        "stages": [[name, _stage(config, stage)] for name, stage in config.running_stages()],
    }


def config_id(config: TrainConfig) -> str:
    """Name of the configuration: the same for all its replicates, whatever their seeds."""
    return digest(canonical(config))[:12]


def stage_key(config: TrainConfig, name: str, epochs: int) -> str:
    """Key of the state after ``epochs`` epochs of stage ``name`` and all stages before it.

    Equal keys mean bit-identical weights on the same machine: the key covers the sources,
    every earlier stage, the seed and the numerics, and nothing that comes later.
    """
    whole = canonical(config)
    running = config.running_stages()
    index = [stage_name for stage_name, _ in running].index(name)
    chain = []
    for position, (_, stage) in enumerate(running[: index + 1]):
        count = epochs if position == index else stage.epochs
        chain.append([_model_seen_by(config, stage), {**_stage(config, stage), "epochs": count}])
    parts = [whole["sources"], whole["selection"], whole["numerics"], config.seed, chain]
    return digest(parts)[:24]


def stream_name(config: TrainConfig, name: str) -> str:
    """Name of the random streams of a stage: its kind and how many of that kind ran before it.

    It depends on no setting, so that replicates of different configurations see the same
    draws, and not on the number of epochs, so that three epochs contain one and two.
    """
    kinds = [stage.kind for _, stage in config.running_stages()]
    position = [stage_name for stage_name, _ in config.running_stages()].index(name)
    return f"{kinds[position]}-{kinds[:position].count(kinds[position])}"


def extends_itself(stage: StageConfig) -> bool:
    """Whether a shorter run of the stage is the beginning of a longer one (nothing in it knows its end)."""
    warmup_is_fixed = stage.warmup_steps is not None or stage.warmup_share == 0
    annealed = isinstance(stage, MultitaskStage) and stage.sampler.kind == "annealed"
    return stage.schedule == "constant" and warmup_is_fixed and not annealed


def digest(data: Any) -> str:
    """SHA-256 of plain data as hex."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _model(config: TrainConfig) -> dict[str, Any]:
    # A list: the order of the tasks is the order of the samplers' turns.
    tasks = [[name, _task(task)] for name, task in config.tasks.items()]
    return {
        "pooling": config.pooling,
        "shared_layer": config.shared_layer,
        "max_length": config.max_length,
        "tasks": tasks,
    }


def _model_seen_by(config: TrainConfig, stage: MultitaskStage | SimCSEStage) -> dict[str, Any]:
    if isinstance(stage, MultitaskStage):
        return _model(config)
    return {"pooling": config.pooling}


def _task(task: TaskConfig) -> dict[str, Any]:
    data = task.model_dump(mode="json", exclude_none=True)
    if task.kind != "classification":
        data.pop("classes")
    if task.kind != "regression":
        data.pop("label_range")
    data.pop("files")  # part of the data's fingerprint
    return data


def _stage(config: TrainConfig, stage: MultitaskStage | SimCSEStage) -> dict[str, Any]:
    data = stage.model_dump(mode="json", exclude_none=True)
    data["tasks"] = [name for name in config.tasks if stage.tasks is None or name in stage.tasks]
    if stage.warmup_steps is not None or stage.warmup_share == 0:
        data.pop("warmup_share")
        data["warmup_steps"] = stage.warmup_steps or 0
    if isinstance(stage, MultitaskStage):
        nothing_shared = stage.freeze_encoder and not config.shared_layer
        if nothing_shared or len(data["tasks"]) == 1 or stage.sampler.kind != "concurrent":
            data.pop("pcgrad")
        if stage.freeze_encoder:
            data.pop("encoder_dropout")
    return data
