"""How a space is searched: the ``search:`` section of its file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

import pydantic
from pydantic import Field, model_validator

from minbert.schema import Frozen, refuse_unless
from minbert.yaml_reader import Located, config_error

DesignName = Literal["optuna", "grid", "listed", "one_factor"]

_OF_DESIGN: dict[str, dict[str, Any]] = {
    "grid": {"early_stopping": None},
    "listed": {"early_stopping": None},
    "one_factor": {"early_stopping": None, "replicates": 5},
}
"""Defaults of the designs that are known beforehand."""


class EarlyStopping(Frozen):
    """Successive halving (ASHA) on the score, in epochs of the last all-task stage."""

    grace_epochs: int = Field(default=1, ge=1, le=10_000)
    """Epochs that every trial runs before it can be stopped."""
    reduction: int = Field(default=3, ge=2, le=10_000)
    """At each rung one in so many trials goes on."""


class SearchSettings(Frozen):
    """Where configurations come from, how many run, and whether weak ones stop early."""

    design: DesignName = "optuna"
    """Where configurations come from (see :mod:`trainables.designs.design`)."""
    sampler: Literal["tpe", "random"] = "tpe"
    startup_trials: int = Field(default=10, ge=0, le=10**9)
    """Random trials before TPE begins to learn."""
    trials: int | None = Field(default=None, ge=1, le=10**9)
    """Runs in all, replicates counted; unset: 24 of optuna, or all that the design has."""
    replicates: int = Field(default=1, ge=1, le=10**9)
    """Runs of each configuration, with other seeds; unset: 1, of one_factor 5."""
    early_stopping: EarlyStopping | None = EarlyStopping()
    """Unset: every trial runs to its end, as those of the other designs than optuna always do."""
    base: dict[str, Any] = Field(default_factory=dict)
    """Of one_factor, the level of factors by path that the others are compared with; unset: a factor's first."""

    @model_validator(mode="before")
    @classmethod
    def _designed_runs_end(cls, data: Any) -> Any:
        design = data.get("design") if isinstance(data, Mapping) else None
        return {**_OF_DESIGN[design], **data} if isinstance(design, str) and design in _OF_DESIGN else data

    @model_validator(mode="after")
    def _fits_design(self) -> Self:
        drawn = self.design == "optuna"
        refuse_unless(drawn, self, {"sampler": "tpe", "startup_trials": 10}, "search.design optuna")
        refuse_unless(self.design == "one_factor", self, {"base": {}}, "search.design one_factor")
        if self.early_stopping is not None and not drawn:
            raise ValueError(
                f"early_stopping does not go with design {self.design!r}: all its runs are to be compared"
            )
        return self


def read_settings(section: Any, written: Located) -> SearchSettings:
    """Read the ``search`` section of a space file.

    Raises:
        UserError: a key or value does not fit.
    """
    try:
        return SearchSettings.model_validate(section)
    except pydantic.ValidationError as error:
        raise config_error(written, error, "search", SearchSettings) from None
