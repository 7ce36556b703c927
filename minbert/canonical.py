"""Canonical form of a configuration and the keys made from it.

Two configurations that train the same way have the same canonical form: stages that do
not run and leaves that have no effect are dropped, sources are named by their content.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from minbert.config import (
    ONE_VALUE,
    MultitaskStage,
    SimCSEStage,
    SmartConfig,
    SupervisedSimCSEStage,
    TaskConfig,
    TrainConfig,
    sentence_tasks,
    text_of,
)

NUMERICS_VERSION = 3
"""Raised whenever the same configuration would give other numbers than before."""


_ALL = "all"
"""Stands for all epochs of a stage, however many they are."""


def canonical(config: TrainConfig) -> dict[str, Any]:
    """The configuration as plain data without anything that has no effect on the result."""
    return {
        "sources": [config.data.fingerprint, config.encoder.fingerprint],
        "selection": [config.selection, config.checkpoint],
        "numerics": [NUMERICS_VERSION, config.device, config.precision, config.threads],
        "model": _model(config),
        "stages": [[name, _stage(config, stage)] for name, stage in config.running_stages()],
    }


def config_id(config: TrainConfig) -> str:
    """Name of the configuration: the same for all its replicates, whatever their seeds."""
    return digest(canonical(config))[:12]


def run_name(config: TrainConfig) -> str:
    """Names a configuration with its seed: two runs of one name end with the same files."""
    return f"{config_id(config)} {config.seed}"


def stage_key(config: TrainConfig, name: str, epochs: float) -> str:
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
        # What was looked at is in the stored facts.
        looked = stage.conflict_batches if isinstance(stage, MultitaskStage) else 0
        seen = {**_stage(config, stage), "epochs": count, **({"conflict_batches": looked} if looked else {})}
        chain.append([_model_seen_by(config, stage), seen])
    parts = [whole["sources"], config.selection, whole["numerics"], config.seed, chain]
    return digest(parts)[:24]


def stream_name(config: TrainConfig, name: str) -> str:
    """Name of the random streams of a stage: its kind and how many of that kind ran before it.

    It depends on no setting, so that replicates of different configurations see the same
    draws, and not on the number of epochs, so that three epochs contain one and two.
    """
    kinds = [stage.kind for _, stage in config.running_stages()]
    position = [stage_name for stage_name, _ in config.running_stages()].index(name)
    return f"{kinds[position]}-{kinds[:position].count(kinds[position])}"


def extends_itself(config: TrainConfig, name: str) -> bool:
    """Whether a shorter run of the stage is the beginning of a longer one (nothing in it knows its end).

    Stages that share a key agree in this, as it is read from the canonical form that the key is made of.
    """
    data = _stage(config, config.stages[name])  # type: ignore[arg-type]
    sampler, ranked = data.get("sampler"), data.get("mnr")
    annealed = isinstance(sampler, dict) and sampler["kind"] == "annealed"
    known = annealed or bool(ranked and ranked["epochs"] != _ALL)
    return data["schedule"] == "constant" and "warmup_steps" in data and not known


def digest(data: Any) -> str:
    """SHA-256 of plain data as hex."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _model(config: TrainConfig) -> dict[str, Any]:
    # A list: the order of the tasks is the order of the samplers' turns.
    tasks = [[name, _task(task)] for name, task in config.tasks.items()]
    return {
        "pooling": config.pooling,
        "shared_layer": [config.shared_layer, config.shared_dropout],
        "max_length": config.max_length,
        "tasks": tasks,
    }


def _model_seen_by(
    config: TrainConfig, stage: MultitaskStage | SimCSEStage | SupervisedSimCSEStage
) -> dict[str, Any]:
    if isinstance(stage, MultitaskStage):
        return _model(config)
    return {"pooling": config.pooling}


def _task(task: TaskConfig) -> dict[str, Any]:
    data = task.model_dump(mode="json", exclude_none=True)
    if task.kind != "classification":
        data.pop("classes")
    if task.kind != "regression":
        data.pop("label_range")
        data.pop("targets")
    # Part of the data's fingerprint; of the analysis; of the stages.
    for name in ("files", "labels", "ordered", "weight", "batch_size"):
        data.pop(name, None)
    data["head"] = {"kind": task.head.kind, **_head(task)}
    return data


def _head(task: TaskConfig) -> dict[str, Any]:
    """What has an effect on the head, unset leaves at the value that they mean."""
    head = task.head
    data: dict[str, Any] = {}
    if head.kind in ("linear", "cross", "concat"):
        data["hidden"] = [head.hidden_layers, head.dropout_of_hidden if head.hidden_layers else 0]
    if head.kind in ("concat", "two_order"):
        data["difference"] = head.compared_by
    if head.kind not in ONE_VALUE:
        data["activation"] = head.activation
    if head.kind == "cosine" and task.kind == "binary":
        data["learned_scale"] = head.learned_scale is not False
    return data


def _stage(
    config: TrainConfig, stage: MultitaskStage | SimCSEStage | SupervisedSimCSEStage
) -> dict[str, Any]:
    data = stage.model_dump(mode="json", exclude_none=True)
    if config.fidelity < 1:
        data["fidelity"] = config.fidelity
    if stage.warmup_steps is not None or stage.warmup_share == 0:
        data.pop("warmup_share")
        data["warmup_steps"] = stage.warmup_steps or 0
    if isinstance(stage, MultitaskStage):
        _drop_idle_multitask(config, stage, data)
    else:
        _name_texts(config, stage, data)
    return data


def _drop_idle_multitask(config: TrainConfig, stage: MultitaskStage, data: dict[str, Any]) -> None:
    tasks = data["tasks"] = config.trained_tasks(stage)
    sizes = {task: config.tasks[task].batch_size or stage.batch_size for task in tasks}
    data["batch_size"] = sizes
    data["weights"] = {task: config.tasks[task].weight for task in tasks}
    data.pop("conflict_batches")  # looks only
    turns = stage.sampler.unit == "pass" or stage.sampler.order is not None
    data["sampler"] = _sampler(stage, tasks) if len(tasks) > 1 or turns else "alone"
    data["smart"] = _smart(stage.smart)
    data.pop("mnr")
    if stage.mnr.tasks:
        ranked = stage.ranked_epochs
        data["mnr"] = {
            "tasks": sorted(stage.mnr.tasks),
            "epochs": _ALL if ranked == stage.last_epoch else ranked,
        }
    if (stage.micro_batch_size or 0) >= max(sizes.values()):
        data.pop("micro_batch_size")
    if stage.last_epoch == 1 and stage.weighting == "adaptive":
        data["weighting"] = "fixed"  # there are no earlier scores to adapt to


def _sampler(stage: MultitaskStage, tasks: list[str]) -> dict[str, Any]:
    sampler = stage.sampler
    data = sampler.model_dump(mode="json", exclude_none=True)
    if sampler.kind == "annealed" and stage.last_epoch == 1:
        data["kind"] = "proportional"
    if sampler.kind in ("sequential", "round_robin"):
        data["order"] = list(sampler.order or tasks)
    if sampler.kind == "round_robin":
        data["unit"] = sampler.unit or "batch"
    if sampler.unit == "pass":  # step for step the same
        data = {"kind": "sequential", "order": data["order"]}
    if sampler.kind == "random":
        weights = [(sampler.weights or {}).get(task, 1.0) for task in tasks]
        data["weights"] = [weight / sum(weights) for weight in weights]
    return data


def _smart(smart: SmartConfig) -> dict[str, Any]:
    data: dict[str, Any] = {}
    if smart.weight:
        data |= smart.model_dump(mode="json", exclude={"bregman", "momentum"})
    if smart.bregman:
        data |= {"bregman": smart.bregman, "momentum": smart.momentum}
    return data


def _name_texts(
    config: TrainConfig, stage: SimCSEStage | SupervisedSimCSEStage, data: dict[str, Any]
) -> None:
    """Name a stage's texts by their content."""
    if isinstance(stage, SimCSEStage):
        data["tasks"] = [task for task in config.tasks if task in sentence_tasks(config, stage)]
        if not stage.mlm_weight:
            data.pop("mlm_share")
    name = text_of(stage)
    data.pop("text", None)
    data.pop("triplets", None)
    if name is not None:
        data["text"] = config.data.texts.get(name, name)
