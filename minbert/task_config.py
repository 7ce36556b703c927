"""Tasks and heads in a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from minbert.schema import Frozen, refuse_unless

TaskKind = Literal["classification", "binary", "regression"]
HeadKind = Literal["linear", "cross", "two_order", "concat", "cosine", "dot"]
Difference = Literal["none", "absolute", "signed"]
Split = Literal["train", "dev", "test"]


def _inside_the_folder(name: str) -> str:
    if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise ValueError(f"{name!r} is no name of a file in the data folder")
    return name


LabelText = Annotated[
    str,
    Field(min_length=1, coerce_numbers_to_str=True),
    WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1}, {"type": "number"}]}),
]
FileName = Annotated[str, AfterValidator(_inside_the_folder)]

ONE_VALUE: tuple[HeadKind, ...] = ("cosine", "dot")
"""Heads without a layer of their own: they compare two vectors and give one value."""
_FARTHEST_LABEL, _NARROWEST = 1e12, 1e-12
"""Squared errors of labels beyond, and of ranges below, are no numbers in fp32."""


class HeadConfig(Frozen):
    """How a task's output is computed from pooled sentence vectors (see :mod:`minbert.heads`)."""

    kind: HeadKind
    """linear: one sentence · cross: both sentences in one joint pass · two_order: a joint pass in
    either order · concat, cosine, dot: two separate passes, compared by layers on [u; v; difference],
    by their cosine, by their dot product."""
    hidden_layers: int = Field(default=0, ge=0, le=3)
    """Hidden layers of the encoder's width with ReLU before the last one (linear, cross, concat)."""
    hidden_dropout: float | None = Field(default=None, ge=0, lt=1)
    """Dropout after every hidden layer; unset: 0.1. Needs hidden_layers."""
    activation: Literal["none", "tanh"] = "none"
    """On the output of linear, cross and concat (regression: tanh spans the label range);
    between the orders' outputs and the last layer of two_order."""
    difference: Difference | None = None
    """What stands beside the two vectors: for concat their difference (unset: absolute), for two_order
    that of the two orders as a third input (unset: none)."""
    learned_scale: bool | None = None
    """cosine of a binary task: a learned slope and offset make the logit (unset: true);
    false: the cosine is the logit."""

    @property
    def dropout_of_hidden(self) -> float:
        """Dropout after every hidden layer."""
        return 0.1 if self.hidden_dropout is None else self.hidden_dropout

    @property
    def compared_by(self) -> Difference:
        """The difference that the head really uses."""
        return self.difference or ("absolute" if self.kind == "concat" else "none")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        layered = self.kind in ("linear", "cross", "concat")
        refuse_unless(layered, self, {"hidden_layers": 0}, "head.kind linear, cross or concat")
        refuse_unless(
            self.hidden_layers > 0, self, {"hidden_dropout": None}, "head.hidden_layers of at least 1"
        )
        refuse_unless(
            self.kind not in ONE_VALUE,
            self,
            {"activation": "none"},
            "a head.kind with layers, not " + self.kind,
        )
        refuse_unless(
            self.kind in ("concat", "two_order"), self, {"difference": None}, "head.kind concat or two_order"
        )
        refuse_unless(self.kind == "cosine", self, {"learned_scale": None}, "head.kind cosine")
        return self


class TaskConfig(Frozen):
    """One task: what its files look like and which head reads it."""

    kind: TaskKind
    head: HeadConfig
    text: tuple[str, ...] = Field(min_length=1, max_length=2)
    """Names of the text columns: one for sentence tasks, two for pair tasks."""
    label: str
    """Name of the label column."""
    classes: int = Field(default=2, ge=2, le=10**5)
    """Number of classes (classification only); left out: as many as labels, or 2."""
    labels: tuple[LabelText, ...] | None = None
    """What the label column says for class 0, 1 and so on (binary: for no and yes); unset: their numbers."""
    ordered: bool = False
    """Whether a higher class means more of something, as with stars or grades; the report then reads class numbers
    as a scale. A binary task and a regression always are one."""
    label_range: tuple[float, float] = (0.0, 5.0)
    """Lowest and highest label (regression only)."""
    targets: Literal["scaled", "raw"] = "scaled"
    """scaled: labels are mapped to −1…1 and the squared error is taken there · raw: the head
    regresses the labels themselves (regression only)."""
    files: dict[Split, FileName] = Field(default_factory=dict)
    """File names inside the data folder by split; empty: recognised by content."""
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Fixed weight of the task's loss."""
    batch_size: int | None = Field(default=None, ge=1, le=2**16)
    """Batch size of this task; unset: the stage's."""
    dev_examples: int | None = Field(default=None, ge=2, le=10**9)
    """Between epochs only so many first examples of dev are scored, which then choose the best epoch;
    unset: all. The best epoch's predictions cover all of dev."""

    @property
    def class_count(self) -> int:
        """Number of classes of a classification or binary task."""
        return self.classes if self.kind == "classification" else 2

    @property
    def positive_from(self) -> float:
        """The lowest label of a positive pair: 1, or four fifths up the label range."""
        low, high = self.label_range if self.kind == "regression" else (0.0, 1.0)
        return low + 0.8 * (high - low)

    @model_validator(mode="before")
    @classmethod
    def _as_many_classes_as_labels(cls, data: Any) -> Any:
        """Count the labels where a classification task does not say how many classes it has."""
        if isinstance(data, Mapping) and data.get("kind") == "classification" and "classes" not in data:
            labels = data.get("labels")
            if isinstance(labels, list | tuple) and len(labels) > 1:
                return {**data, "classes": len(labels)}
        return data

    @model_validator(mode="after")
    def _head_fits(self) -> Self:
        if (self.head.kind == "linear") != (len(self.text) == 1):
            needed = "linear" if len(self.text) == 1 else "cross, two_order, concat, cosine or dot"
            raise ValueError(
                f"head.kind {self.head.kind!r} does not fit a task with {len(self.text)} text column(s): use {needed}"
            )
        if self.head.kind in ONE_VALUE and self.kind == "classification":
            raise ValueError(
                f"head.kind {self.head.kind!r} gives one value and does not fit a classification task: "
                "use cross, two_order or concat"
            )
        refuse_unless(self.kind == "binary", self.head, {"learned_scale": None}, "a binary task")
        regression = {"targets": "scaled", "label_range": (0.0, 5.0)}
        refuse_unless(self.kind == "regression", self, regression, "a regression task")
        refuse_unless(self.kind == "classification", self, {"classes": 2}, "a classification task")
        refuse_unless(self.kind != "regression", self, {"labels": None}, "a classification or binary task")
        if self.labels is not None:
            self._check_labels(self.labels)
        low, high = self.label_range
        if not -_FARTHEST_LABEL <= low < high <= _FARTHEST_LABEL or high - low < _NARROWEST:
            raise ValueError(
                f"label_range [{low:g}, {high:g}] is not allowed: it needs the lowest and the highest label, two numbers "
                f"from {-_FARTHEST_LABEL:g} to {_FARTHEST_LABEL:g} that differ by at least {_NARROWEST:g}, the lower one first"
            )
        return self

    def _check_labels(self, labels: tuple[str, ...]) -> None:
        if len(labels) == len(set(labels)) == self.class_count:
            return
        what = f"labels {', '.join(labels)} are not {self.class_count} different ones"
        if self.kind == "classification" and len(labels) == len(set(labels)) > 1:
            raise ValueError(
                f"{what}, as classes says: write classes: {len(labels)}, or name {self.class_count} labels"
            )
        raise ValueError(f"{what}: a {self.kind} task has {self.class_count} classes")


def default_tasks() -> dict[str, TaskConfig]:
    """The three tasks of the CS224N default project."""
    pair = ("sentence1", "sentence2")
    return {
        "sst": TaskConfig(
            kind="classification",
            classes=5,
            ordered=True,
            head=HeadConfig(kind="linear"),
            text=("sentence",),
            label="sentiment",
        ),
        "qqp": TaskConfig(kind="binary", head=HeadConfig(kind="cross"), text=pair, label="is_duplicate"),
        "sts": TaskConfig(kind="regression", head=HeadConfig(kind="cross"), text=pair, label="similarity"),
    }
