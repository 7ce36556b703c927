"""What a source says about its runs, as contrasts that a study can test: the ``claims`` of a listed space."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import BeforeValidator, Field, model_validator

from minbert.errors import UserError, nearest_first
from minbert.schema import Frozen
from minbert.yaml_reader import Located, config_error, shorten
from trainables.spaces.files import available_spaces, locate, read_layers
from trainables.spaces.runs import Texts

AVERAGES = ("plain", "overall")
COSTS = ("seconds", "memory")

Group = Annotated[
    tuple[str, ...], BeforeValidator(lambda given: (given,) if isinstance(given, str) else given)
]
Pairs = tuple[tuple[str, str], ...]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class Contrast(Frozen):
    """A difference between runs, and what the source says of it."""

    a: Group = ()
    """A run, or a group of runs whose mean counts."""
    b: Group = ()
    """What ``a`` is compared with."""
    pairs: Pairs = ()
    """Instead of ``a`` and ``b``: pairs of runs that differ in one thing; the mean of first minus second counts."""
    than: Pairs = ()
    """Of an interaction: other pairs, whose mean difference is subtracted from that of ``pairs``."""
    metric: str
    """A task, ``plain`` or ``overall`` (means of the tasks as a paper's), ``seconds`` (of training) or ``memory``."""
    gap: bool = False
    """Whether the scores on train minus those on dev are compared; of ``a`` alone, with 0."""
    error_from: Annotated[int, Field(strict=True, gt=0)] | None = None
    """Instead of the metric the mean of answer − label, over the dev examples with so many characters or more (of a
    pair: in both sentences), counts; of ``a`` alone it is compared with 0."""
    direction: Literal["up", "down", "equal", "not_up", "not_down"]
    """What the source says of the difference; the last three allow for ``margin``."""
    margin: Annotated[Finite, Field(gt=0)] | None = None
    """The largest difference that is still none; unset: one point (.01)."""
    size: Finite | None = None
    """The difference as reported; unset: the source has no number."""
    size_from: Literal["table", "text"] = "table"
    """Whether ``size`` is calculated from the runs' reported scores or stands in the text."""
    space: str | None = None
    """The packaged space, of another paper, whose runs are meant; unset: this one's."""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if bool(self.a) == bool(self.pairs):
            raise ValueError("a contrast has either a (and b) or pairs")
        if self.pairs and self.b:
            raise ValueError("b does not go with pairs")
        if self.than and not self.pairs:
            raise ValueError("than needs pairs")
        if self.a and not self.b and not self.gap and self.error_from is None:
            raise ValueError("b is missing: only a gap or an error is of one run alone")
        if self.gap and self.metric in COSTS:
            raise ValueError(f"gap does not go with {self.metric}")
        self._check_error()
        self._check_margin()
        return self

    def _check_error(self) -> None:
        if self.error_from is None:
            return
        if self.gap or self.metric in (*AVERAGES, *COSTS):
            raise ValueError(
                f"error_from does not go with {'gap' if self.gap else self.metric}: it is of one task"
            )
        if self.direction not in ("up", "down"):
            raise ValueError(f"error_from goes with up and down, not with {self.direction}")

    def _check_margin(self) -> None:
        if self.margin is not None and self.direction in ("up", "down"):
            raise ValueError("margin only goes with equal, not_up and not_down")
        if self.metric in COSTS and self.direction not in ("up", "down") and self.margin is None:
            raise ValueError(f"margin is missing: {self.metric} has no usual one")

    def named(self) -> Iterator[tuple[str, str]]:
        """Names of runs, by where they stand."""
        for leaf in ("a", "b"):
            yield from ((f"{leaf}.{at}", name) for at, name in enumerate(getattr(self, leaf)))
        for leaf in ("pairs", "than"):
            for at, pair in enumerate(getattr(self, leaf)):
                yield from ((f"{leaf}.{at}.{side}", name) for side, name in enumerate(pair))


class Claim(Frozen):
    """A sentence of the source and the contrasts that it stands for: it holds when all of them do."""

    says: Annotated[str, Field(min_length=1)]
    """The source's own words."""
    section: str
    """Where they stand."""
    contrasts: tuple[Contrast, ...] = ()
    not_measured: str | None = None
    """Instead of contrasts: why no runs of the table can say anything of it."""
    note: Texts = ()
    """Where words and table contradict each other, and how the words were read."""

    @model_validator(mode="after")
    def _measured_or_not(self) -> Self:
        if bool(self.contrasts) == bool(self.not_measured):
            raise ValueError("a claim has either contrasts or not_measured, which says why it has none")
        return self


def parse_claims(section: Any, written: Located) -> dict[str, Claim]:
    """Read the ``claims`` section of a space file; whether what they name exists is not checked yet.

    Raises:
        UserError: a key or value does not fit; the message names file, line and claim.
    """
    if section is None:
        return {}
    if not isinstance(section, Mapping):
        raise UserError(
            f"{written.where('claims')}: claims: {shorten(section)} is not a mapping of claims by their numbers"
        )
    return {name: _parse_claim(name, row, written) for name, row in section.items()}


def check_claims(
    claims: Mapping[str, Claim], written: Located, runs: Collection[str], tasks: Collection[str]
) -> None:
    """Check the names in the claims of a listed space with these runs and tasks.

    Raises:
        UserError: there is no such run, metric or packaged space; the message names file, line and claim.
    """
    for name, claim in claims.items():
        for at, contrast in enumerate(claim.contrasts):
            _check_names(f"claims.{name}.contrasts.{at}", contrast, written, runs, tasks)


def claims_to_yaml(claims: Mapping[str, Claim]) -> dict[str, Any]:
    """The ``claims`` section of a space file, in its canonical form."""
    return {name: claim.model_dump(mode="json", exclude_defaults=True) for name, claim in claims.items()}


def _parse_claim(name: str, row: Any, written: Located) -> Claim:
    try:
        return Claim.model_validate(row)
    except pydantic.ValidationError as error:
        raise config_error(written, error, f"claims.{name}", Claim) from None


def _check_names(
    path: str, contrast: Contrast, written: Located, runs: Collection[str], tasks: Collection[str]
) -> None:
    def refuse(leaf: str, value: str, kind: str, known: Collection[str]) -> None:
        if value not in known:
            message = f"there is no {kind} {value!r}{nearest_first(value, known, f'the {kind}s are')}"
            raise UserError(f"{written.where(f'{path}.{leaf}')}: {path}.{leaf}: {message}")

    refuse("metric", contrast.metric, "metric", [*tasks, *AVERAGES, *COSTS])
    if contrast.space is not None:
        refuse("space", contrast.space, "packaged space", available_spaces())
        runs = _runs_of(contrast.space)
    for leaf, name in contrast.named():
        refuse(leaf, name, "run", runs)


@cache
def _runs_of(space: str) -> tuple[str, ...]:
    """Names of the runs of a packaged space, which do not change while a program runs."""
    tree, _ = read_layers(locate(space)[0])
    return tuple(tree.get("runs") or {})
