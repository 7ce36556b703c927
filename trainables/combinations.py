"""The settings of a space's factors: how many there are, and each in turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from trainables.distributions import Factor, Int, stored

if TYPE_CHECKING:
    from trainables.spaces import Space


def count_settings(space: Space) -> int | None:
    """Number of different settings of the factors that apply; None when a factor is continuous."""
    sizes = {factor.path: factor.distribution.size() for factor in space.factors}
    if None in sizes.values():
        return None
    asked = {path for factor in space.factors for path in factor.when}
    deciding = {factor.path for factor in space.factors if any(factor.owns(path) for path in asked)}

    def count(at: int, params: dict[str, Any]) -> int:
        if at == len(space.factors):
            return 1
        factor = space.factors[at]
        if not space.applies(factor, params):
            return count(at + 1, params)
        if factor.path not in deciding:
            return cast(int, sizes[factor.path]) * count(at + 1, params)
        return sum(
            weight * count(at + 1, params | {factor.path: value})
            for value, weight in _weighted_values(factor, space.factors)
        )

    return count(0, {})


def every_setting(space: Space, drawn: dict[str, Any] | None = None, at: int = 0) -> Iterator[dict[str, Any]]:
    """Every setting of the factors that apply, the first factor changing last.

    Raises:
        ValueError: a factor that applies is continuous; its path.
    """
    drawn = drawn or {}
    if at == len(space.factors):
        yield drawn
        return
    factor = space.factors[at]
    if not space.applies(factor, drawn):
        yield from every_setting(space, drawn, at + 1)
        return
    values = factor.distribution.values()
    if values is None:
        raise ValueError(factor.path)
    for value in values:
        yield from every_setting(space, drawn | {factor.path: value}, at + 1)


def _weighted_values(factor: Factor, factors: Sequence[Factor]) -> Iterator[tuple[Any, int]]:
    """Values of a factor that conditions ask for, with 1 each; those that none names as one, with their number."""
    if not isinstance(factor.distribution, Int):
        yield from ((stored(level), 1) for level in factor.distribution.levels())
        return
    named = {v for each in factors for v in each.when.get(factor.path, ()) if factor.distribution.contains(v)}
    yield from ((value, 1) for value in sorted(named))
    grid = range(factor.distribution.low, factor.distribution.high + 1, factor.distribution.step)
    if len(named) < len(grid):
        yield next(value for value in grid if value not in named), len(grid) - len(named)
