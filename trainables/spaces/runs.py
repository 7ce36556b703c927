"""The runs of a listed space: what each sets, what a source reports for it, and how that was read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import BeforeValidator, Field, model_validator

from minbert.dotted import put
from minbert.errors import UserError, nearest_first
from minbert.schema import Frozen
from minbert.yaml_reader import Located, config_error, shorten
from trainables.spaces.trees import overlay

RUN = "run"
"""Name of the factor of a listed space: which run."""

Score = Annotated[float, Field(strict=True, ge=-1, le=1)]
Scalar = str | bool | int | float | None
Texts = Annotated[
    tuple[str, ...], BeforeValidator(lambda given: (given,) if isinstance(given, str) else given)
]


class Paper(Frozen):
    """The source of the runs: shown and stored, never trained."""

    name: str
    title: str = ""
    average: Literal["plain", "overall"] = "overall"
    """Which mean of the tasks it reports: of the metrics themselves, or of the metrics mapped to [0, 1]."""
    setting: dict[str, Scalar] = Field(default_factory=dict)
    """What else it says of its experiments."""
    sizes: dict[str, dict[Literal["train", "dev", "test"], Annotated[int, Field(ge=1)]]] = Field(
        default_factory=dict
    )
    """How many examples its tasks' sets have, as far as it says."""


class Run(Frozen):
    """One row of a result table."""

    like: str | None = None
    """The run that this one starts from; unset: the fixed part of the space."""
    set: dict[str, Any] = Field(default_factory=dict)
    """What it changes: a partial configuration, nested or by dotted paths."""
    same_as: str | None = None
    """A run with the same configuration, which is then trained once."""
    members: dict[str, str] = Field(default_factory=dict)
    """Of a composite row: the run from which each task's score comes. Such a row trains nothing itself."""
    reported: dict[str, Score | dict[str, Score | None] | None] = Field(default_factory=dict)
    """Scores that the source reports on dev by task, ``plain`` and ``overall``; on others under ``train``, ``test``."""
    interpretation: Texts = ()
    """Readings that were taken where the source is ambiguous."""
    note: Texts = ()
    """Where the source contradicts itself."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        others = [name for name in ("like", "set", "same_as") if getattr(self, name)]
        if self.members and others:
            raise ValueError(
                f"members do not go with {others[0]}: a composite row takes the scores of other runs and trains nothing"
            )
        return self

    def to_yaml(self) -> dict[str, Any]:
        """The mapping it was read from, in its canonical form."""
        return self.model_dump(mode="json", exclude_defaults=True)


@dataclass(frozen=True)
class Runs:
    """All runs of a listed space in their order; of other spaces, none."""

    rows: Mapping[str, Run] = field(default_factory=dict)

    @property
    def trained(self) -> list[str]:
        """The runs with a configuration that no other run was said to share."""
        return [name for name, run in self.rows.items() if not run.members and run.same_as is None]

    @property
    def configured(self) -> list[str]:
        """The runs with a configuration."""
        return [name for name, run in self.rows.items() if not run.members]

    def chain(self, name: str) -> tuple[str, ...]:
        """The run, the one it starts from, the one that this starts from, and so on."""
        chain: list[str] = []
        at: str | None = name
        while at is not None:
            chain.append(at)
            at = self.below(at)
        return tuple(chain)

    def below(self, name: str) -> str | None:
        """The run that a run starts from: of one that says nothing but ``same_as``, that one."""
        run = self.rows[name]
        return run.like or (run.same_as if not run.set else None)

    def partial(self, base: Mapping[str, Any], name: str) -> dict[str, Any]:
        """The partial configuration of a run."""
        tree = dict(base)
        for each in reversed(self.chain(name)):
            tree = overlay(tree, self.rows[each].set)
        return tree

    def like_first(self) -> Iterator[str]:
        """The runs with a configuration, each after the one that it starts from."""
        yield from sorted(self.configured, key=lambda name: len(self.chain(name)))

    def changed(self, name: str, more: Mapping[str, Any]) -> Runs:
        """The same runs but for what one of them sets in addition."""
        run = self.rows[name]
        changed = run.model_copy(update={"set": overlay(run.set, more)})
        return Runs({**self.rows, name: changed})

    def to_yaml(self) -> dict[str, Any]:
        """The ``runs`` section of a space file."""
        return {name: run.to_yaml() for name, run in self.rows.items()}


def parse_paper(section: Any, written: Located) -> Paper | None:
    """Read the ``paper`` section of a space file.

    Raises:
        UserError: a key or value does not fit.
    """
    if section is None:
        return None
    try:
        return Paper.model_validate(section)
    except pydantic.ValidationError as error:
        raise config_error(written, error, "paper", Paper) from None


def parse_runs(section: Any, written: Located) -> Runs:
    """Read the ``runs`` section of a space file; whether its configurations are valid is not checked yet.

    Raises:
        UserError: a key, value or name of another run does not fit, or runs go in a circle.
    """
    if not isinstance(section, Mapping) or not section:
        problem = f"runs: {shorten(section)} is not a mapping of at least one run by its name"
        raise UserError(f"{written.where('runs')}: {problem}")
    for name in section:
        if not name or re.search(r"[/\x00-\x1f\x7f]", name):
            place = written.where(f"runs.{name}")
            raise UserError(
                f"{place}: {name!r} cannot be a run's name: it holds no / and no control character"
            )
    runs = Runs({name: _parse_run(name, row, written) for name, row in section.items()})
    for name, run in runs.rows.items():
        for leaf, other in _named(run):
            _check_name(runs, name, leaf, other, written)
    for name in runs.rows:
        _refuse_circle(runs, name, written)
    return runs


def _parse_run(name: str, row: Any, written: Located) -> Run:
    try:
        run = Run.model_validate({} if row is None else row)
    except pydantic.ValidationError as error:
        raise config_error(written, error, f"runs.{name}", Run) from None
    try:
        return run.model_copy(update={"set": _nested(run.set)})
    except _StandsTwice as twice:
        place = written.where(f"runs.{name}.set.{twice}")
        raise UserError(f"{place}: run {name!r}: {twice} is set twice, by dotted path and nested") from None


class _StandsTwice(ValueError):
    """A leaf that is given by its dotted path and nested."""


def _nested(changes: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    """Write dotted paths as nested mappings."""
    tree: dict[str, Any] = {}
    for key, value in changes.items():
        path = f"{within}.{key}" if within else key
        tree = _joined(
            tree, put({}, key, _nested(value, path) if isinstance(value, Mapping) else value), within
        )
    return tree


def _joined(tree: Mapping[str, Any], more: Mapping[str, Any], within: str) -> dict[str, Any]:
    joined = dict(tree)
    for key, value in more.items():
        path = f"{within}.{key}" if within else key
        if key not in joined:
            joined[key] = value
        elif isinstance(value, Mapping) and isinstance(joined[key], Mapping):
            joined[key] = _joined(joined[key], value, path)
        else:
            raise _StandsTwice(path)
    return joined


def _named(run: Run) -> Iterator[tuple[str, str]]:
    """Names of other runs, by where they stand."""
    for leaf in ("like", "same_as"):
        if getattr(run, leaf) is not None:
            yield leaf, getattr(run, leaf)
    yield from ((f"members.{task}", other) for task, other in run.members.items())


def _check_name(runs: Runs, name: str, leaf: str, other: str, written: Located) -> None:
    place = f"{written.where(f'runs.{name}.{leaf}')}: run {name!r}: {leaf}"
    if other not in runs.rows:
        known = [each for each in runs.rows if each != name]
        raise UserError(f"{place}: there is no run {other!r}{nearest_first(other, known, 'the others are')}")
    if runs.rows[other].members:
        raise UserError(f"{place}: {other!r} is a composite row and has no configuration of its own")


def _refuse_circle(runs: Runs, name: str, written: Located, above: tuple[str, ...] = ()) -> None:
    """Refuse runs that start from, or are the same as, themselves."""
    run = runs.rows[name]
    for leaf, other in (("like", run.like), ("same_as", run.same_as)):
        if other in (*above, name):
            circle = " -> ".join([*above, name, other])
            raise UserError(f"{written.where(f'runs.{name}.{leaf}')}: runs go in a circle: {circle}")
        if other is not None:
            _refuse_circle(runs, other, written, (*above, name))
