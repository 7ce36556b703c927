"""The claims that a study's source makes, as study.yaml holds them, and each contrast as weights of runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from analysis.study import Study
from minbert.errors import UserError

MARGIN = 0.01
"""The largest difference that counts as none where a claim names no other: one point."""

Direction = Literal["up", "down", "equal", "not_up", "not_down"]


class Contrast(BaseModel):
    """A difference between runs and what the source says of it; the fields are those of a space file."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    a: tuple[str, ...] = ()
    b: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    than: tuple[tuple[str, str], ...] = ()
    metric: str
    gap: bool = False
    error_from: int | None = None
    direction: Direction
    margin: float | None = None
    size: float | None = None
    size_from: str = "table"
    space: str | None = None

    def weights(self) -> dict[str, float]:
        """The contrast as a weighted sum of runs; a run that cancels is left out."""
        found: dict[str, float] = defaultdict(float)
        for sign, group in ((1, self.a), (-1, self.b)):
            for run in group:
                found[run] += sign / len(group)
        for sign, pairs in ((1, self.pairs), (-1, self.than)):
            for first, second in pairs:
                found[first] += sign / len(pairs)
                found[second] -= sign / len(pairs)
        return {run: weight for run, weight in found.items() if abs(weight) > 1e-12}

    @property
    def region(self) -> tuple[float, float]:
        """The differences, between two bounds, for which the claim holds."""
        margin = MARGIN if self.margin is None else self.margin
        return {
            "up": (0.0, float("inf")),
            "down": (-float("inf"), 0.0),
            "equal": (-margin, margin),
            "not_up": (-float("inf"), margin),
            "not_down": (-margin, float("inf")),
        }[self.direction]

    @property
    def compared(self) -> str:
        """What is compared, in words."""
        what = f"{self.metric}, train minus dev" if self.gap else self.metric
        if self.error_from is not None:
            what = f"{self.metric}, mean of answer − label over dev examples of {self.error_from:,} characters or more"
        where = f" (runs of {self.space})" if self.space else ""
        if self.than:
            runs = f"{_pairs(self.pairs)}; more than {_pairs(self.than)}"
        elif self.pairs:
            runs = _pairs(self.pairs)
        else:
            runs = _group(self.a) + (f" − {_group(self.b)}" if self.b else "")
        return f"{what}: {runs}{where}"

    @property
    def expected(self) -> str:
        """What the source says of the difference, in words."""
        margin = MARGIN if self.margin is None else self.margin
        return {
            "up": "up",
            "down": "down",
            "equal": f"equal within ±{margin:g}",
            "not_up": f"not up by {margin:g}",
            "not_down": f"not down by {margin:g}",
        }[self.direction]


class Claim(BaseModel):
    """A sentence of the source; it holds when all its contrasts do."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    says: str
    section: str
    contrasts: tuple[Contrast, ...] = ()
    not_measured: str | None = None
    note: tuple[str, ...] = Field(default=())


def claims_of(study: Study) -> dict[str, Claim]:
    """The claims in a study's study.yaml, by their numbers; none when its space has none.

    Raises:
        UserError: the section is damaged.
    """
    stored: Any = study.meta.get("claims") or {}
    try:
        return TypeAdapter(dict[str, Claim]).validate_python(stored)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in ("claims", *first["loc"]))
        raise UserError(f"{study.path / 'study.yaml'}: damaged at {where}: {first['msg']}") from None


def _group(runs: Iterable[str]) -> str:
    names = list(runs)
    return names[0] if len(names) == 1 else f"mean of {', '.join(names)}"


def _pairs(pairs: Sequence[tuple[str, str]]) -> str:
    shown = ", ".join(f"{first} − {second}" for first, second in pairs)
    return shown if len(pairs) == 1 else f"mean of {len(pairs)} pairs ({shown})"
