"""TrainConfig: the one typed description of a trial.

YAML files, search spaces, trials and reports all speak it. Leaves are named by
dotted paths (``stages.finetune.learning_rate``). A configuration is immutable;
:func:`build_config` makes one from a partial nested mapping over the defaults.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from minbert.config_checks import check_shared_layer, check_stage
from minbert.schema import Frozen
from minbert.stage_config import (
    ContrastiveStage,
    MnrConfig,
    MultitaskStage,
    SamplerConfig,
    SamplerKind,
    Schedule,
    SimCSEStage,
    SmartConfig,
    Stage,
    StageConfig,
    SupervisedSimCSEStage,
    default_stages,
)
from minbert.task_config import ONE_VALUE, HeadConfig, HeadKind, TaskConfig, TaskKind, default_tasks

__all__ = [
    "MOST_THREADS",
    "ONE_VALUE",
    "ContrastiveStage",
    "Frozen",
    "HeadConfig",
    "HeadKind",
    "MnrConfig",
    "MultitaskStage",
    "Pooling",
    "SamplerConfig",
    "SamplerKind",
    "Schedule",
    "Selection",
    "SimCSEStage",
    "SmartConfig",
    "Source",
    "Stage",
    "StageConfig",
    "SupervisedSimCSEStage",
    "TaskConfig",
    "TaskKind",
    "TrainConfig",
    "build_config",
    "content_of",
    "merge",
    "sentence_tasks",
    "text_of",
]

MOST_THREADS = 1024
"""Of a trial; the libraries that compute crash with several thousand."""

Pooling = Literal["mean", "cls", "pooler"]
Selection = Literal["dev_half", "train_holdout", "dev"]


class Source(Frozen):
    """A data folder or an encoder checkpoint, named by path and pinned by content."""

    path: str = "auto"
    """Local folder, hub id (encoder), or ``auto``."""
    fingerprint: str = ""
    """Hash of the content; empty until the source has been resolved. Keys use only this."""
    texts: dict[str, str] = Field(default_factory=dict)
    """Hashes of the data folder's further text files that stages read, by the name they use."""


class TrainConfig(Frozen):
    """A trial, wholly described."""

    data: Source = Source()
    encoder: Source = Source()
    seed: int = Field(default=0, ge=0, lt=2**63)
    selection: Selection = "dev_half"
    """What chooses epochs and configurations: half of dev (the other half is reported),
    a tenth of train (all of dev is reported), or all of dev, as the papers did (optimistic)."""
    checkpoint: Literal["score", "task", "last"] = "score"
    """Which epoch of the last stage counts: the one with the best score, for every task its own best
    one, or the last."""
    fidelity: float = Field(default=1.0, gt=0, le=1)
    """Share of every epoch's steps that is trained, in the same mix of tasks: a cheaper version of the same run."""
    max_length: int = Field(default=128, ge=8, le=512)
    """Tokens a sequence, special tokens included; a pair is cut at its longer sentence first."""
    pooling: Pooling = "mean"
    shared_layer: Literal["none", "all", "pairs"] = "none"
    """all: a dense layer with tanh that every input of every head goes through · pairs: the pair
    heads' first hidden layer (ReLU, on their joined inputs) is one for all of them."""
    shared_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the shared layer's output."""
    tasks: dict[str, TaskConfig] = Field(default_factory=default_tasks, min_length=1)
    stages: dict[str, Stage] = Field(default_factory=default_stages, min_length=1)
    recipe: tuple[str, ...] = ("simcse", "supervised", "finetune")
    """Names of the stages that run, in order."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    threads: Literal["auto"] | Annotated[int, Field(ge=1, le=MOST_THREADS)] = "auto"

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        for name in self.tasks:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name) or name in ("score", "plain"):
                raise ValueError(
                    f"tasks: {name!r} cannot be a task's name: use letters, digits, - and _, "
                    "and neither 'score' nor 'plain'"
                )
        folded = [name.lower() for name in self.tasks]
        if len(set(folded)) < len(folded):
            twice = [name for name in self.tasks if folded.count(name.lower()) > 1]
            raise ValueError(
                f"tasks: {' and '.join(twice)} differ in capitals alone, which file names may not tell"
            )
        for name in self.stages:
            if not name or re.search(r"[/\\\x00-\x1f\x7f]", name):
                raise ValueError(
                    f"stages: {name!r} cannot be a stage's name: it holds no / or \\ and no control character"
                )
        for name in self.recipe:
            if name not in self.stages:
                raise ValueError(f"recipe names the stage {name!r}; the stages are {', '.join(self.stages)}")
        if len(set(self.recipe)) != len(self.recipe):
            raise ValueError("recipe names a stage twice; give the second one a name of its own under stages")
        running = self.running_stages()
        if not running or not isinstance(running[-1][1], MultitaskStage):
            raise ValueError("recipe must end with a multitask stage of more than 0 epochs")
        for name, stage in running:
            check_stage(self, name, stage)
        check_shared_layer(self)
        return self

    def running_stages(self) -> list[tuple[str, MultitaskStage | SimCSEStage | SupervisedSimCSEStage]]:
        """The stages of the recipe that really run (epochs above 0), in order."""
        return [(name, self.stages[name]) for name in self.recipe if self.stages[name].epochs > 0]

    def trained_tasks(self, stage: MultitaskStage) -> list[str]:
        """Names of the tasks that a stage trains, in the order of ``tasks``."""
        return [name for name in self.tasks if stage.tasks is None or name in stage.tasks]


def text_of(stage: Stage) -> str | None:
    """Name of the further text file that a stage reads; None where it reads none."""
    if isinstance(stage, SimCSEStage):
        return stage.text
    if isinstance(stage, SupervisedSimCSEStage) and stage.task is None:
        return stage.triplets or "triplets"
    return None


def sentence_tasks(config: TrainConfig, stage: SimCSEStage) -> list[str]:
    """Tasks whose training sentences a stage reads, in the order of ``tasks``."""
    wanted = stage.tasks if stage.tasks is not None else () if stage.text else tuple(config.tasks)
    return [name for name in config.tasks if name in wanted]


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one nested mapping over another: mappings merge, everything else replaces, null removes a key."""
    merged = dict(base)
    for key, value in over.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def build_config(partial: Mapping[str, Any]) -> TrainConfig:
    """Build a configuration from a partial nested mapping laid over the defaults.

    Raises:
        pydantic.ValidationError: a key or value is not of the schema.
    """
    return TrainConfig.model_validate(merge(TrainConfig().model_dump(exclude_none=True), partial))


def content_of(config: TrainConfig) -> dict[str, Any]:
    """Plain data from which :func:`build_config` makes the configuration again: tasks and stages that are there by
    default and not in it are null."""
    content, default = config.model_dump(mode="json"), TrainConfig()
    for section, names in (("tasks", default.tasks), ("stages", default.stages)):
        content[section] |= {name: None for name in names if name not in content[section]}
    return content
