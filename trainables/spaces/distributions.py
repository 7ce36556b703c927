"""What a leaf of a search space may be drawn from, and the factors (axes) of a space.

A mapping with one of the keys ``choice``, ``int``, ``uniform`` or ``log_uniform`` is a distribution;
``step`` and ``when`` may stand beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar, Protocol

MOST_LEVELS = 10
"""Integer ranges longer than this are shown and checked by a few of their values."""


class Trial(Protocol):
    """The part of ``optuna.trial.Trial`` (and ``FixedTrial``) that a space asks."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Suggest one of the choices."""
        ...

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        """Suggest an integer, both ends included."""
        ...

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Suggest a number, both ends included."""
        ...


class Distribution(Protocol):
    """Where the values of a factor come from."""

    kind: ClassVar[str]

    def suggest(self, trial: Trial, path: str) -> Any:
        """Ask the trial for a value, in the form in which Optuna stores it."""
        ...

    def levels(self) -> tuple[Any, ...]:
        """The values that stand for the distribution in checks and tables; of a continuous one, the ends."""
        ...

    def size(self) -> int | None:
        """How many values there are; None: a continuum."""
        ...

    def values(self) -> Sequence[Any] | None:
        """Every value in order, in the form in which Optuna stores it; None: a continuum."""
        ...

    def contains(self, value: Any) -> bool:
        """Whether the value can be drawn."""
        ...

    def to_yaml(self) -> dict[str, Any]:
        """The mapping it was read from."""
        ...


@dataclass(frozen=True)
class Choice:
    """One of a list of levels. A level may be a mapping or a list; Optuna then sees its label."""

    options: tuple[Any, ...]
    kind: ClassVar[str] = "choice"

    def suggest(self, trial: Trial, path: str) -> Any:
        """Ask for a level: itself when it is a scalar, else its label."""
        return trial.suggest_categorical(path, [stored(option) for option in self.options])

    def level(self, value: Any) -> Any:
        """The level that a stored value stands for; the value itself when it is none."""
        return next((option for option in self.options if same(stored(option), value)), value)

    def levels(self) -> tuple[Any, ...]:
        """All levels."""
        return self.options

    def size(self) -> int | None:
        """Number of levels."""
        return len(self.options)

    def values(self) -> Sequence[Any] | None:
        """All levels, as stored."""
        return [stored(option) for option in self.options]

    def contains(self, value: Any) -> bool:
        """Whether the value is a level."""
        return any(same(option, value) for option in self.options)

    def to_yaml(self) -> dict[str, Any]:
        """``{choice: [...]}``."""
        return {"choice": list(self.options)}


@dataclass(frozen=True)
class Int:
    """An integer from `low` to `high`, both included."""

    low: int
    high: int
    step: int = 1
    kind: ClassVar[str] = "int"

    def suggest(self, trial: Trial, path: str) -> Any:
        """Ask for an integer."""
        return trial.suggest_int(path, self.low, self.high, step=self.step)

    def levels(self) -> tuple[Any, ...]:
        """Every value of a short range, else the ends."""
        if (self.high - self.low) // self.step >= MOST_LEVELS:  # a range of 2**63 values has no len()
            return self.low, self.high
        return tuple(range(self.low, self.high + 1, self.step))

    def size(self) -> int | None:
        """Number of values."""
        return (self.high - self.low) // self.step + 1

    def values(self) -> Sequence[Any] | None:
        """The whole range."""
        return range(self.low, self.high + 1, self.step)

    def contains(self, value: Any) -> bool:
        """Whether the value is on the grid."""
        return is_whole(value) and value in range(self.low, self.high + 1, self.step)

    def to_yaml(self) -> dict[str, Any]:
        """``{int: [low, high]}``, with step when it is not 1."""
        return {"int": [self.low, self.high]} | ({"step": self.step} if self.step != 1 else {})


@dataclass(frozen=True)
class Uniform:
    """A number from `low` to `high`, both included; on a grid when there is a step."""

    low: float
    high: float
    step: float | None = None
    kind: ClassVar[str] = "uniform"

    def suggest(self, trial: Trial, path: str) -> Any:
        """Ask for a number."""
        return trial.suggest_float(path, self.low, self.high, step=self.step)

    def levels(self) -> tuple[Any, ...]:
        """Both ends."""
        return (self.low, self.high)

    def size(self) -> int | None:
        """Number of values of the grid, if there is one."""
        return None if self.step is None else int(steps_between(self.low, self.high, self.step)) + 1

    def values(self) -> Sequence[Any] | None:
        """The values of the grid, if there is one, in decimals as they are written."""
        if self.step is None:
            return None
        low, step = Decimal(str(self.low)), Decimal(str(self.step))
        return [float(low + index * step) for index in range(self.size() or 0)]

    def contains(self, value: Any) -> bool:
        """Whether the value lies between the ends."""
        return isinstance(value, int | float) and self.low <= value <= self.high

    def to_yaml(self) -> dict[str, Any]:
        """``{uniform: [low, high]}``, with the step if there is one."""
        return {"uniform": [self.low, self.high]} | ({"step": self.step} if self.step is not None else {})


@dataclass(frozen=True)
class LogUniform:
    """A number from `low` to `high` whose logarithm is uniform."""

    low: float
    high: float
    kind: ClassVar[str] = "log_uniform"

    def suggest(self, trial: Trial, path: str) -> Any:
        """Ask for a number."""
        return trial.suggest_float(path, self.low, self.high, log=True)

    def levels(self) -> tuple[Any, ...]:
        """Both ends."""
        return (self.low, self.high)

    def size(self) -> int | None:
        """A continuum."""
        return None

    def values(self) -> Sequence[Any] | None:
        """A continuum."""
        return None

    def contains(self, value: Any) -> bool:
        """Whether the value lies between the ends."""
        return isinstance(value, int | float) and self.low <= value <= self.high

    def to_yaml(self) -> dict[str, Any]:
        """``{log_uniform: [low, high]}``."""
        return {"log_uniform": [self.low, self.high]}


@dataclass(frozen=True)
class Factor:
    """An axis of a space: a leaf of the configuration, what it is drawn from, and when it applies."""

    path: str
    distribution: Distribution
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Dotted path -> values; the factor is drawn only where every path has one of its values."""

    def levels(self) -> list[str]:
        """Labels of the levels, for tables; of a long or continuous range, its ends."""
        return [label(level) for level in self.distribution.levels()]

    def shown(self, between: str) -> str:
        """The levels with this text between them; of a range, from where to where: ``1 to 3``."""
        drawn = self.distribution
        if isinstance(drawn, Choice):
            return between.join(self.levels())
        assert isinstance(drawn, Int | Uniform | LogUniform)
        text = f"{label(drawn.low)} to {label(drawn.high)}"
        if isinstance(drawn, LogUniform):
            return f"{text}, logarithmic"
        step = drawn.step
        return text if step is None or (isinstance(drawn, Int) and step == 1) else f"{text} by {label(step)}"

    def level(self, value: Any) -> Any:
        """The value that goes into the configuration for a value as Optuna stores it."""
        return self.distribution.level(value) if isinstance(self.distribution, Choice) else value

    def owns(self, path: str) -> bool:
        """Whether the path is the factor's leaf or lies within it."""
        return path == self.path or path.startswith(self.path + ".")

    def to_yaml(self) -> dict[str, Any]:
        """The mapping it was read from, in its canonical form."""
        when = {path: values[0] if len(values) == 1 else list(values) for path, values in self.when.items()}
        return self.distribution.to_yaml() | ({"when": when} if when else {})


def label(value: Any) -> str:
    """A short stable text for a level: scalars as YAML writes them, mappings and lists in flow style."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {label(item)}" for key, item in sorted(value.items())) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(label(item) for item in value) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def stored(level: Any) -> Any:
    """The form of a level that Optuna can store."""
    return label(level) if isinstance(level, Mapping | list | tuple) else level


def same(one: Any, other: Any) -> bool:
    """Equality that keeps true apart from 1."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def is_whole(value: Any) -> bool:
    """Whether this is an integer of 64 bits, as which Optuna stores it; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def steps_between(low: float, high: float, step: float) -> Decimal:
    """Steps from low to high, counted in decimals as they are written (0.5 / 0.1 is 5)."""
    return (Decimal(str(high)) - Decimal(str(low))) / Decimal(str(step))
