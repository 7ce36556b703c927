"""How many settings a space has, counted by what conditions ask for and not one by one.

The factors are gone through once, each after those that its condition names. What has to be remembered of the ones
before is which later factors they ruled out; settings that agree in that are counted together. So the effort grows
with the number of factors, unless very many conditions overlap.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainables.spaces.distributions import Factor, Int, same, stored

if TYPE_CHECKING:
    from trainables.spaces.space import Space

MOST_STATES = 5_000
"""Where more has to be told apart at once, an upper bound is given instead: the next step could take hours."""

_Ruled = frozenset[str]
"""Paths of factors that do not apply."""


@dataclass(frozen=True)
class Count:
    """Settings of the factors that apply.

    Attributes:
        discrete: how many, where a continuous factor counts as one level.
        continuous: number of continuous factors.
        exact: whether ``discrete`` is the number itself; else it is an upper bound.
    """

    discrete: int
    continuous: int
    exact: bool = True


def count(space: Space) -> Count:
    """Count the settings of a space whose factors stand after those that their conditions name."""
    sizes = {factor.path: factor.distribution.size() for factor in space.factors}
    continuous = sum(size is None for size in sizes.values())
    links = _Links(space)
    states: dict[_Ruled, int] = {links.never: 1}
    for factor in links.order():
        following: dict[_Ruled, int] = defaultdict(int)
        for ruled, found in states.items():
            if factor.path in ruled:
                following[(ruled - {factor.path}) | links.ruled_out(factor, {})] += found
                continue
            for more, weight in links.groups[factor.path].items():
                following[ruled | more] += found * weight
        if len(following) > MOST_STATES:
            return Count(math.prod(size or 1 for size in sizes.values()), continuous, exact=False)
        states = following
    return Count(sum(states.values()), continuous)


def shown(number: int) -> str:
    """A number for people: whole, unless it would be longer than a line."""
    return f"{number:,}" if number < 10**30 else f"about 10^{math.log10(number):.0f}"


class _Links:
    """Which factors the levels of a factor rule out."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.dependents: dict[str, list[Factor]] = defaultdict(list)
        self.owners: dict[str, set[str]] = defaultdict(set)
        never = set()
        for factor in space.factors:
            for path in factor.when:
                owner = next((each.path for each in space.factors if each.owns(path)), None)
                if owner is None:
                    never |= set() if self._holds(factor, path, {}) else {factor.path}
                elif owner not in self.owners[factor.path]:
                    self.owners[factor.path].add(owner)
                    self.dependents[owner].append(factor)
        self.never = frozenset(never)
        self.groups = {factor.path: self._groups(factor) for factor in space.factors}

    def order(self) -> Iterator[Factor]:
        """Every factor after its owners, and as soon after them as can be: then little stays open."""
        done: set[str] = set()
        waiting = list(reversed(self.space.factors))
        while waiting:
            factor = waiting.pop()
            if factor.path in done or not self.owners[factor.path] <= done:
                continue  # it comes again, with the last of its owners
            done.add(factor.path)
            yield factor
            waiting += reversed(self.dependents[factor.path])

    def ruled_out(self, owner: Factor, params: Mapping[str, Any]) -> _Ruled:
        """The factors that do not apply where the owner has the value in ``params``, or none there."""
        return frozenset(
            factor.path
            for factor in self.dependents[owner.path]
            for path in factor.when
            if owner.owns(path) and not self._holds(factor, path, params)
        )

    def _groups(self, owner: Factor) -> Counter[_Ruled]:
        """Number of levels by what they rule out."""
        size = owner.distribution.size()
        if not self.dependents[owner.path]:
            return Counter({frozenset(): 1 if size is None else size})
        groups: Counter[_Ruled] = Counter()
        for value, weight in self._values(owner):
            groups[self.ruled_out(owner, {owner.path: value})] += weight
        return groups

    def _values(self, owner: Factor) -> Iterator[tuple[Any, int]]:
        """Values with 1 each; of integers only those that a condition asks for, and one for all the others."""
        distribution = owner.distribution
        if not isinstance(distribution, Int):
            yield from ((stored(level), 1) for level in distribution.levels())
            return
        grid = range(distribution.low, distribution.high + 1, distribution.step)
        asked = [value for each in self.dependents[owner.path] for value in each.when.get(owner.path, ())]
        named = {int(value) for value in asked if not isinstance(value, str | bool) and value in grid}
        yield from ((value, 1) for value in named)
        others = (distribution.size() or 0) - len(named)
        if others:
            yield next(value for value in grid if value not in named), others

    def _holds(self, factor: Factor, path: str, params: Mapping[str, Any]) -> bool:
        found = self.space.value(path, params)
        return any(same(found, value) for value in factor.when[path])
