"""The settings of a space's factors, each in turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainables.spaces.space import Space


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
