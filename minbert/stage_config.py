"""Stages in a configuration: what is trained on what, how long, and with which losses."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from minbert.schema import Frozen, refuse_unless

SamplerKind = Literal[
    "sequential", "round_robin", "merged", "proportional", "annealed", "random", "concurrent"
]
Schedule = Literal["linear", "cosine", "constant"]


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"names {name!r} twice")
    return names


Names = Annotated[tuple[str, ...], Field(min_length=1)]
TaskNames = Annotated[tuple[str, ...], AfterValidator(_distinct)]


def _whole(value: Any) -> Any:
    """3.0 is 3, so that the same number of epochs has one spelling."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Epochs = Annotated[
    int | Annotated[float, Field(allow_inf_nan=False)], BeforeValidator(_whole), Field(ge=0, le=10_000)
]


class SamplerConfig(Frozen):
    """Which task's batch comes next (see :mod:`minbert.samplers`)."""

    kind: SamplerKind = "concurrent"
    order: Names | None = None
    """Tasks in the order of their turns, repeats allowed (sequential, round_robin); unset: as in ``tasks``."""
    unit: Literal["batch", "pass"] | None = None
    """What a turn of round_robin gives: one batch (unset), or a whole pass through the task's set."""
    end: Literal["smallest", "largest"] | None = None
    """An epoch ends with the turn in which the smallest set is through, or the largest, smaller ones
    starting over (round_robin by batches, concurrent); unset: after ``epoch_examples``."""
    weights: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] | None = None
    """How often random draws a task, relative to the others; a task that is not named has weight 1."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        turns = self.kind in ("sequential", "round_robin")
        refuse_unless(turns, self, {"order": None}, "sampler.kind sequential or round_robin")
        refuse_unless(self.kind == "round_robin", self, {"unit": None}, "sampler.kind round_robin")
        by_batches = self.kind == "round_robin" and self.unit != "pass"
        refuse_unless(
            by_batches or self.kind == "concurrent",
            self,
            {"end": None},
            "sampler.kind concurrent, or round_robin with sampler.unit batch",
        )
        refuse_unless(self.kind == "random", self, {"weights": None}, "sampler.kind random")
        return self


class SmartConfig(Frozen):
    """SMART's smoothness regulariser (see :mod:`minbert.smart`; Jiang et al. 2020)."""

    weight: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """λ of the adversarial term; 0: none."""
    steps: int = Field(default=1, ge=1, le=100)
    """Ascent steps of the perturbation."""
    step_size: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    """η of an ascent step."""
    noise: float = Field(default=1e-5, gt=0, allow_inf_nan=False)
    """σ of the normal draw that the perturbation starts from."""
    gradient: Literal["scaled", "bare"] = "scaled"
    """What an ascent step adds η times of: the gradient divided by its largest entry, token by token, or as
    it is (the formula and public code), which beside the noise hardly turns the draw."""
    radius: float = Field(default=1e-2, gt=0, allow_inf_nan=False)
    """Size of the perturbation: the largest entry of every token's; public code has 1e-3 and 1."""
    bregman: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """μ of the Bregman proximal term; 0: none."""
    momentum: float = Field(default=0.0, ge=0, lt=1)
    """β of the earlier model that the proximal term looks back at; 0: the last iterate."""

    @property
    def term(self) -> str:
        """The first of its terms that counts, for a message; empty where none does."""
        terms = {"smart.weight": self.weight, "smart.bregman": self.bregman}
        return next((f"{name} {weight}" for name, weight in terms.items() if weight), "")


class MnrConfig(Frozen):
    """Multiple negatives ranking instead of a task's own loss (see :mod:`minbert.contrastive`)."""

    tasks: TaskNames = ()
    """Pair tasks that are trained on their positive pairs by ranking; empty: none."""
    share: float = Field(default=1.0, gt=0, le=1)
    """For this first share of the stage's epochs, rounded down but at least one; then by their own loss."""


class StageConfig(Frozen):
    """What every stage has: how long it runs and how it is optimised (AdamW)."""

    epochs: Epochs = 1
    """Epochs; 3.5 ends in the middle of the fourth; 0 leaves the stage out."""
    epoch_examples: int | None = Field(default=None, ge=1, le=10**8)
    """Training examples per epoch, the same for every sampler; unset: all there are."""
    epoch_steps: int | None = Field(default=None, ge=1, le=10**7)
    """Optimiser steps per epoch, instead of ``epoch_examples``."""
    batch_size: int = Field(default=32, ge=1, le=2**16)
    learning_rate: float = Field(default=5e-5, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(default=0.01, ge=0, allow_inf_nan=False)
    max_grad_norm: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Gradients are clipped to this global norm; 0: not clipped."""
    schedule: Schedule = "linear"
    """Learning rate after the warm-up: linear or cosine decay to zero, or constant."""
    warmup_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of the stage's steps that warm up linearly; not used when ``warmup_steps`` is set."""
    warmup_steps: int | None = Field(default=None, ge=0, le=10**9)
    """Steps that warm up linearly."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout on the pooled sentence vectors."""
    encoder_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout inside the encoder: embeddings, attention probabilities and sublayer outputs."""

    @property
    def last_epoch(self) -> int:
        """Number of the last epoch, which may be a fraction of one."""
        return math.ceil(self.epochs)

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.epoch_steps is not None and self.epoch_examples is not None:
            raise ValueError(
                f"epoch_steps {self.epoch_steps} and epoch_examples {self.epoch_examples} both say how long "
                "an epoch is: set one of them"
            )
        return self


class MultitaskStage(StageConfig):
    """Supervised training of the heads and the encoder on the tasks' labels."""

    kind: Literal["multitask"] = "multitask"
    epochs: Epochs = 3
    tasks: Annotated[TaskNames, Field(min_length=1)] | None = None
    """Names of the tasks trained; unset: all."""
    sampler: SamplerConfig = SamplerConfig()
    combine: Literal["sum", "mean"] = "sum"
    """How the losses (with pcgrad: the projected gradients) of a step's tasks are put together."""
    weighting: Literal["fixed", "adaptive", "learned"] = "fixed"
    """Weights of the tasks' losses besides ``tasks.*.weight`` (see :mod:`minbert.weighting`). adaptive follows
    the scores after every epoch, so that one epoch of it is one of fixed."""
    pcgrad: bool = False
    """Project conflicting task gradients (Yu et al. 2020); needs the concurrent sampler."""
    micro_batch_size: int | None = Field(default=None, ge=1, le=2**16)
    """Examples of a task in one pass, so that memory does not grow with the batch; unset: the whole batch."""
    conflict_batches: int = Field(default=0, ge=0, le=10_000)
    """Batches of every task whose gradients are compared, and not used, at the beginning of every epoch."""
    smart: SmartConfig = SmartConfig()
    mnr: MnrConfig = MnrConfig()
    freeze_encoder: bool = False
    """Train only the heads and the shared layer."""

    @property
    def ranked_epochs(self) -> int:
        """Epochs in which ``mnr.tasks`` are ranked, from the first on."""
        return max(1, math.floor(self.mnr.share * self.last_epoch + 1e-9)) if self.mnr.tasks else 0

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        concurrent = self.sampler.kind == "concurrent"
        if self.pcgrad and not concurrent:
            raise ValueError(
                f"pcgrad true does not go with sampler.kind {self.sampler.kind!r}: "
                "a step must see several tasks, use sampler.kind 'concurrent' or pcgrad false"
            )
        refuse_unless(
            concurrent, self, {"combine": "sum"}, "sampler.kind concurrent: other steps have one task"
        )
        self._length_fits()
        if term := self.smart.term:
            if self.freeze_encoder:
                raise ValueError(
                    f"{term} does not go with freeze_encoder true: it smooths the encoder, which does not change"
                )
            if self.pcgrad:
                raise ValueError(
                    f"{term} does not go with pcgrad true: no source says whether its gradient is projected, "
                    "use one of them"
                )
        if self.mnr.tasks and self.micro_batch_size is not None:
            raise ValueError(
                f"micro_batch_size {self.micro_batch_size} does not go with mnr.tasks: its negatives are the whole batch"
            )
        named = {
            "sampler.order": self.sampler.order,
            "sampler.weights": self.sampler.weights,
            "mnr.tasks": self.mnr.tasks,
        }
        for leaf, names in named.items():
            for name in names or ():
                if self.tasks is not None and name not in self.tasks:
                    raise ValueError(
                        f"{leaf} names {name!r}, which is not among the stage's tasks ({', '.join(self.tasks)})"
                    )
        return self

    def _length_fits(self) -> None:
        fixed_by = (
            "sampler.end"
            if self.sampler.end
            else "sampler.unit pass"
            if self.sampler.unit == "pass"
            else None
        )
        for leaf in ("epoch_examples", "epoch_steps"):
            if fixed_by and getattr(self, leaf) is not None:
                raise ValueError(
                    f"{leaf} {getattr(self, leaf)} does not go with {fixed_by}: both say how long an epoch is"
                )


class ContrastiveStage(StageConfig):
    """What the contrastive stages have in common: they train the encoder alone."""

    epochs: Epochs = 0
    batch_size: int = Field(default=64, ge=2, le=2**16)
    learning_rate: float = Field(default=3e-5, gt=0, allow_inf_nan=False)
    schedule: Schedule = "constant"
    warmup_share: float = Field(default=0.0, ge=0, lt=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    temperature: float = Field(default=0.05, gt=0, allow_inf_nan=False)
    max_length: int = Field(default=32, ge=4, le=512)
    """Tokens a sentence, special tokens included."""
    projection: bool = False
    """A dense layer with tanh on the vectors, in training only."""


class SimCSEStage(ContrastiveStage):
    """Unsupervised SimCSE: a sentence under two dropout masks is its own positive (Gao et al. 2021)."""

    kind: Literal["simcse"] = "simcse"
    tasks: Annotated[TaskNames, Field(min_length=1)] | None = None
    """Tasks whose training sentences are used; unset: all, or none when ``text`` is set."""
    text: str | None = None
    """A file of the data folder with a sentence a line, or ``sentences``: the only such file there."""
    mlm_weight: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Weight of a masked-language-model loss on the same sentences; 0: none."""
    mlm_share: float = Field(default=0.15, gt=0, lt=1)
    """Share of the tokens that it masks."""

    @model_validator(mode="after")
    def _has_two_views(self) -> Self:
        if self.epochs and not self.dropout and not self.encoder_dropout:
            raise ValueError(
                "dropout 0 does not go with encoder_dropout 0: only dropout tells a sentence's two encodings apart"
            )
        return self


class SupervisedSimCSEStage(ContrastiveStage):
    """Supervised SimCSE: positives and hard negatives from triplets or from a task's labels (Gao et al. 2021)."""

    kind: Literal["supervised_simcse"] = "supervised_simcse"
    learning_rate: float = Field(default=5e-5, gt=0, allow_inf_nan=False)
    triplets: str | None = None
    """A file of the data folder with triplets (sent0, sent1, hard_neg) or with labelled pairs (premise,
    hypothesis, label) that triplets are made from; unset: the only such file there."""
    task: str | None = None
    """A binary pair task instead: its positive pairs, the negatives being the second sentences shuffled."""
    hard_negative_weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """α: how much a sentence's own hard negative counts among its negatives."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.task is not None and self.triplets is not None:
            raise ValueError(
                f"task {self.task!r} and triplets {self.triplets!r} are both sources: set one of them"
            )
        return self


Stage = Annotated[MultitaskStage | SimCSEStage | SupervisedSimCSEStage, Field(discriminator="kind")]


def default_stages() -> dict[str, Stage]:
    """Contrastive stages that are off (0 epochs) and the multitask fine-tuning."""
    return {"simcse": SimCSEStage(), "supervised": SupervisedSimCSEStage(), "finetune": MultitaskStage()}
