"""TrainConfig: the one typed description of a trial.

YAML files, search spaces, trials and reports all speak it. Leaves are named by
dotted paths (``stages.finetune.learning_rate``). A configuration is immutable;
:func:`build_config` makes one from a partial nested mapping over the defaults.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

TaskKind = Literal["classification", "binary", "regression"]
PairHeadKind = Literal["cross", "concat", "cosine"]
HeadKind = Literal["linear", "cross", "concat", "cosine"]
SamplerKind = Literal["sequential", "round_robin", "proportional", "annealed", "concurrent"]
Pooling = Literal["mean", "cls", "pooler"]
Selection = Literal["dev_half", "train_holdout", "dev"]
Schedule = Literal["linear", "cosine", "constant"]


class Frozen(BaseModel):
    """Base of every part of the schema: unknown keys are refused, values cannot change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class Source(Frozen):
    """A data folder or an encoder checkpoint, named by path and pinned by content."""

    path: str = "auto"
    """Local folder, hub id (encoder), or ``auto``."""
    fingerprint: str = ""
    """Hash of the content; empty until the source has been resolved. Keys use only this."""


class HeadConfig(Frozen):
    """How a task's output is computed from pooled sentence vectors."""

    kind: HeadKind
    """linear: one sentence · cross: both sentences in one joint pass · concat: [u; v; |u−v|]
    of two separate passes · cosine: scaled cosine of two separate passes."""


class TaskConfig(Frozen):
    """One task: what its files look like and which head reads it."""

    kind: TaskKind
    head: HeadConfig
    text: tuple[str, ...] = Field(min_length=1, max_length=2)
    """Names of the text columns: one for sentence tasks, two for pair tasks."""
    label: str
    """Name of the label column."""
    classes: int = Field(default=2, ge=2)
    """Number of classes (classification only)."""
    label_range: tuple[float, float] = (0.0, 5.0)
    """Lowest and highest label (regression only)."""
    files: dict[Literal["train", "dev", "test"], str] = Field(default_factory=dict)
    """File names inside the data folder by split; empty: recognised by content."""
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Fixed weight of the task's loss."""
    batch_size: int | None = Field(default=None, ge=1)
    """Batch size of this task; unset: the stage's."""

    @model_validator(mode="after")
    def _head_fits(self) -> Self:
        if (self.head.kind == "linear") != (len(self.text) == 1):
            needed = "linear" if len(self.text) == 1 else "cross, concat or cosine"
            raise ValueError(
                f"head.kind {self.head.kind!r} does not fit a task with {len(self.text)} text column(s): use {needed}"
            )
        if self.head.kind == "cosine" and self.kind == "classification":
            raise ValueError(
                "head.kind 'cosine' gives one value and does not fit a classification task: use cross or concat"
            )
        if self.label_range[0] >= self.label_range[1]:
            raise ValueError(f"label_range {self.label_range} is empty")
        return self


class SamplerConfig(Frozen):
    """Which task's batch comes next (see :mod:`minbert.samplers`)."""

    kind: SamplerKind = "concurrent"


class StageConfig(Frozen):
    """What every stage has: how long it runs and how it is optimised (AdamW)."""

    epochs: int = Field(default=1, ge=0)
    """Passes over ``epoch_examples``; 0 leaves the stage out."""
    epoch_examples: int | None = Field(default=None, ge=1)
    """Training examples per epoch, the same for every sampler; unset: all there are."""
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=5e-5, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(default=0.01, ge=0, allow_inf_nan=False)
    max_grad_norm: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Gradients are clipped to this global norm."""
    schedule: Schedule = "linear"
    """Learning rate after the warm-up: linear or cosine decay to zero, or constant."""
    warmup_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of the stage's steps that warm up linearly; not used when ``warmup_steps`` is set."""
    warmup_steps: int | None = Field(default=None, ge=0)
    """Steps that warm up linearly."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout on the pooled sentence vectors."""
    encoder_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout inside the encoder: embeddings, attention probabilities and sublayer outputs."""


class MultitaskStage(StageConfig):
    """Supervised training of the heads and the encoder on the tasks' labels."""

    kind: Literal["multitask"] = "multitask"
    epochs: int = Field(default=3, ge=0)
    tasks: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Names of the tasks trained; unset: all."""
    sampler: SamplerConfig = SamplerConfig()
    pcgrad: bool = False
    """Project conflicting task gradients (Yu et al. 2020); needs the concurrent sampler."""
    freeze_encoder: bool = False
    """Train only the heads and the shared layer."""

    @model_validator(mode="after")
    def _pcgrad_needs_concurrent(self) -> Self:
        if self.pcgrad and self.sampler.kind != "concurrent":
            raise ValueError(
                f"pcgrad true does not go with sampler.kind {self.sampler.kind!r}: "
                "a step must see several tasks, use sampler.kind 'concurrent' or pcgrad false"
            )
        return self


class SimCSEStage(StageConfig):
    """Unsupervised SimCSE on the tasks' training sentences (Gao et al. 2021)."""

    kind: Literal["simcse"] = "simcse"
    epochs: int = Field(default=0, ge=0)
    batch_size: int = Field(default=64, ge=2)
    learning_rate: float = Field(default=3e-5, gt=0, allow_inf_nan=False)
    schedule: Schedule = "constant"
    warmup_share: float = Field(default=0.0, ge=0, lt=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    tasks: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Tasks whose training sentences are used; unset: all."""
    temperature: float = Field(default=0.05, gt=0, allow_inf_nan=False)
    max_length: int = Field(default=32, ge=4, le=512)
    """Tokens a sentence, special tokens included."""


Stage = Annotated[MultitaskStage | SimCSEStage, Field(discriminator="kind")]


def default_tasks() -> dict[str, TaskConfig]:
    """The three tasks of the CS224N default project."""
    pair = ("sentence1", "sentence2")
    return {
        "sst": TaskConfig(
            kind="classification",
            classes=5,
            head=HeadConfig(kind="linear"),
            text=("sentence",),
            label="sentiment",
        ),
        "qqp": TaskConfig(kind="binary", head=HeadConfig(kind="cross"), text=pair, label="is_duplicate"),
        "sts": TaskConfig(kind="regression", head=HeadConfig(kind="cross"), text=pair, label="similarity"),
    }


def default_stages() -> dict[str, Stage]:
    """A contrastive stage that is off (0 epochs) and the multitask fine-tuning."""
    return {"simcse": SimCSEStage(), "finetune": MultitaskStage()}


class TrainConfig(Frozen):
    """A trial, wholly described."""

    data: Source = Source()
    encoder: Source = Source()
    seed: int = Field(default=0, ge=0, lt=2**63)
    selection: Selection = "dev_half"
    """What chooses epochs and configurations: half of dev (the other half is reported),
    a tenth of train (all of dev is reported), or all of dev, as the papers did (optimistic)."""
    max_length: int = Field(default=128, ge=8, le=512)
    """Tokens a sequence, special tokens included; a pair is cut at its longer sentence first."""
    pooling: Pooling = "mean"
    shared_layer: bool = False
    """A dense layer with tanh that every head reads the pooled vectors through."""
    tasks: dict[str, TaskConfig] = Field(default_factory=default_tasks, min_length=1)
    stages: dict[str, Stage] = Field(default_factory=default_stages, min_length=1)
    recipe: tuple[str, ...] = ("simcse", "finetune")
    """Names of the stages that run, in order."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    threads: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        for name in self.tasks:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name) or name == "score":
                raise ValueError(
                    f"tasks: {name!r} cannot be a task's name: use letters, digits, - and _, and not 'score'"
                )
        for name in self.recipe:
            if name not in self.stages:
                raise ValueError(f"recipe names the stage {name!r}; the stages are {', '.join(self.stages)}")
        if len(set(self.recipe)) != len(self.recipe):
            raise ValueError("recipe names a stage twice; give the second one a name of its own under stages")
        running = self.running_stages()
        if not running or not isinstance(running[-1][1], MultitaskStage):
            raise ValueError("recipe must end with a multitask stage of at least one epoch")
        for name, stage in running:
            for task in stage.tasks or ():
                if task not in self.tasks:
                    raise ValueError(
                        f"stages.{name}.tasks names {task!r}; the tasks are {', '.join(self.tasks)}"
                    )
        return self

    def running_stages(self) -> list[tuple[str, MultitaskStage | SimCSEStage]]:
        """The stages of the recipe that really run (epochs above 0), in order."""
        return [(name, self.stages[name]) for name in self.recipe if self.stages[name].epochs > 0]


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
