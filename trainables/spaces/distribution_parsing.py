"""Reading distributions and their conditions from a space file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from minbert.errors import UserError, did_you_mean
from minbert.yaml_reader import Located, shorten
from trainables.spaces.distributions import (
    Choice,
    Distribution,
    Factor,
    Int,
    LogUniform,
    Uniform,
    is_whole,
    label,
    steps_between,
)

_MOST_LEVELS = 1000
"""Of one factor: each is built and checked."""
_MOST_VALUES = 100_000
"""Of a grid of numbers: they are listed."""
KINDS = (Choice.kind, Int.kind, Uniform.kind, LogUniform.kind)


class DistributionError(ValueError):
    """A mistake in a distribution; `at` is the key or key and position it stands at."""

    def __init__(self, message: str, at: str = "") -> None:
        super().__init__(message)
        self.at = at


def is_distribution(value: Any) -> bool:
    """Whether a value of the file is meant as a distribution."""
    return isinstance(value, Mapping) and any(kind in value for kind in KINDS)


def read_factor(path: str, node: Mapping[str, Any], written: Located) -> Factor:
    """Read the distribution of a leaf from a document.

    Raises:
        UserError: what is wrong with it, and where.
    """
    try:
        return parse_factor(path, node)
    except DistributionError as error:
        place = written.where(f"{path}.{error.at}" if error.at else path)
        raise UserError(f"{place}: {path}: {error}") from None


def parse_factor(path: str, node: Mapping[str, Any]) -> Factor:
    """Read one distribution and its condition.

    Raises:
        DistributionError: what is wrong with it.
    """
    given = [kind for kind in KINDS if kind in node]
    if len(given) > 1:
        raise DistributionError(f"{given[0]} and {given[1]} exclude each other", given[1])
    kind = given[0]
    allowed = (kind, "when", *(("step",) if kind in (Int.kind, Uniform.kind) else ()))
    for key in node:
        if key not in allowed:
            message = f"unknown key {key!r} beside {kind}: allowed are {', '.join(allowed)}"
            raise DistributionError(message + did_you_mean(key, allowed), key)
    distribution = _choice(node[kind]) if kind == Choice.kind else _range(kind, node[kind], node.get("step"))
    return Factor(path, distribution, _conditions(node.get("when", {})))


def _choice(options: Any) -> Choice:
    if not isinstance(options, list) or not options:
        raise DistributionError(
            f"choice needs a list of at least one level, not {shorten(options)}", "choice"
        )
    if len(options) > _MOST_LEVELS:
        raise DistributionError(
            f"{len(options)} levels are more than {_MOST_LEVELS}; for a range there are int, uniform and log_uniform",
            "choice",
        )
    seen: set[str] = set()
    for index, option in enumerate(options):
        if isinstance(option, float) and not math.isfinite(option):
            raise DistributionError(f"the level {option} is not a finite number", f"choice.{index}")
        if label(option) in seen:
            raise DistributionError(f"the level {label(option)} stands twice in choice", f"choice.{index}")
        seen.add(label(option))
    return Choice(tuple(options))


def _range(kind: str, bounds: Any, step: Any) -> Distribution:
    number = is_whole if kind == Int.kind else _is_number
    noun = "integers" if kind == Int.kind else "numbers"
    if not isinstance(bounds, list) or len(bounds) != 2 or not all(map(number, bounds)):
        raise DistributionError(f"{kind} needs two {noun} [low, high], not {shorten(bounds)}", kind)
    low, high = bounds
    if low >= high:
        raise DistributionError(f"{kind} {shorten(bounds)} is empty: low must be below high", kind)
    if kind == LogUniform.kind and low <= 0:
        raise DistributionError(f"log_uniform {shorten(bounds)} must lie above 0", kind)
    if step is not None and (not number(step) or step <= 0 or not _divides(low, high, step)):
        message = (
            f"step {shorten(step)} is not allowed: a whole number of steps must lead from {low} to {high}"
        )
        raise DistributionError(message, "step")
    if kind == Uniform.kind and step is not None and steps_between(low, high, step) >= _MOST_VALUES:
        count = steps_between(low, high, step) + 1
        message = f"step {shorten(step)} makes {_shown(count)} values from {low} to {high}; at most {_MOST_VALUES:,} are possible"
        raise DistributionError(f"{message}: choose a larger step, or none", "step")
    if kind == Int.kind:
        return Int(low, high, step or 1)
    if kind == Uniform.kind:
        return Uniform(float(low), float(high), None if step is None else float(step))
    return LogUniform(float(low), float(high))


def _conditions(when: Any) -> dict[str, tuple[Any, ...]]:
    if not isinstance(when, Mapping):
        raise DistributionError(f"when needs a mapping of paths to values, not {shorten(when)}", "when")
    conditions: dict[str, tuple[Any, ...]] = {}
    for path, values in when.items():
        conditions[path] = tuple(values) if isinstance(values, list) else (values,)
        if not conditions[path]:
            raise DistributionError(f"when {path} lists no value", f"when.{path}")
    return conditions


def _is_number(value: Any) -> bool:
    return is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def _shown(count: Decimal) -> str:
    """A number of values, which may have hundreds of digits."""
    return f"{int(count):,}" if count < 10**15 else f"about {count:.0e}"


def _divides(low: float, high: float, step: float) -> bool:
    steps = steps_between(low, high, step)
    return steps == steps.to_integral_value()
