"""Where configurations come from: drawn by Optuna, every combination of a grid, one factor at a time, or a list.

A design decides from the account of what was started, which the journal holds, so that a driver
that takes over a study neither skips nor repeats a run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Any, Protocol

from optuna.trial import FrozenTrial, TrialState

from minbert.errors import UserError
from trainables.designs.combinations import every_setting
from trainables.spaces.one_factor import comparisons
from trainables.spaces.settings import DesignName
from trainables.spaces.space import Space

USUAL_TRIALS = 24
"""Runs of a study whose configurations are drawn, when nothing else is said."""
MOST_GRID = 10_000
"""A larger grid is more likely a mistake than a plan."""
REDRAWS = 20
"""So often in a row a sampler may draw what was started before; then the next untried setting is taken."""

Account = dict[tuple[str, int], FrozenTrial]
"""What was started: trials by configuration and replicate, in the order of their numbers; it only grows."""

Identify = Callable[[dict[str, Any]], str]
"""Name of the configuration that values of the factors stand for; equal ones train the same way."""


Settings = Callable[[Space], list[dict[str, Any]]]
"""The settings of a planned space in the order in which they run."""


@dataclass(frozen=True)
class Proposal:
    """What to run next.

    Attributes:
        params: values of the factors; None: the sampler draws them.
        replicate: 0 for a new configuration, above for a repetition with another seed.
    """

    params: dict[str, Any] | None
    replicate: int = 0


class Design(Protocol):
    """Where configurations come from."""

    @property
    def runs(self) -> int:
        """Runs in all, replicates counted; fewer when the design has no more to propose."""
        ...

    def proposals(self, account: Account, redrawn: int) -> Iterator[Proposal]:
        """What may be started now, best first; none: nothing, until a running trial ends.

        Args:
            account: what was started.
            redrawn: how often in a row the sampler has just drawn what was started before.
        """
        ...


class Drawn:
    """Configurations drawn by Optuna's sampler; one that finished its first run gets its replicates."""

    def __init__(self, space: Space, identify: Identify) -> None:
        self._finite = space.combinations() is not None
        self._replicates = space.settings.replicates
        self._newest: tuple[str, int] | None = None
        self._awaited: list[str] = []
        self._untried = NotStarted((identify(params), 0, params) for params in every_setting(space))
        self.runs = space.settings.trials or USUAL_TRIALS

    def proposals(self, account: Account, redrawn: int) -> Iterator[Proposal]:
        """Replicates that are due, then a draw; in a finite space, in the end only what is left of it."""
        if self._replicates > 1:
            yield from self._due(account)
        if redrawn < REDRAWS or not self._finite:
            yield Proposal(None)
        else:
            yield from self._untried.proposals(account)

    def _due(self, account: Account) -> Iterator[Proposal]:
        """Replicates that may start; what has none to come any more is not looked at again."""
        new = list(takewhile(lambda name: name != self._newest, reversed(account)))
        self._newest = new[0] if new else self._newest
        self._awaited += [identity for identity, replicate in reversed(new) if replicate == 0]
        self._awaited = [identity for identity in self._awaited if self._may_be_due(identity, account)]
        for identity in self._awaited:
            if account[identity, 0].state is TrialState.COMPLETE:
                for number in self._missing(identity, account):
                    yield Proposal(account[identity, 0].params, number)

    def _may_be_due(self, identity: str, account: Account) -> bool:
        state = account[identity, 0].state
        return state in (TrialState.RUNNING, TrialState.COMPLETE) and any(self._missing(identity, account))

    def _missing(self, identity: str, account: Account) -> Iterator[int]:
        """Replicates of a configuration that nothing was begun of."""
        return (each for each in range(1, self._replicates) if (identity, each) not in account)


class Planned:
    """Configurations that are known beforehand, each replicate of all of them before the next one.

    Settings with the same configuration are run once, as the first of them.

    Attributes:
        plan: values of the factors by name of the configuration, in the order in which they run.
    """

    def __init__(self, space: Space, identify: Identify, settings: Settings) -> None:
        replicates = range(space.settings.replicates)
        self.plan: dict[str, dict[str, Any]] = {}
        for params in settings(space):
            self.plan.setdefault(identify(params), params)
        self._left = NotStarted(
            (identity, replicate, params)
            for replicate in replicates
            for identity, params in self.plan.items()
        )
        self.runs = len(self.plan) * len(replicates)
        if space.settings.trials is not None:
            self.runs = min(self.runs, space.settings.trials)

    def proposals(self, account: Account, redrawn: int) -> Iterator[Proposal]:
        """What of the plan was not started, in its order."""
        yield from self._left.proposals(account)


class NotStarted:
    """What of a list was not started; what was is passed over once, so that the end of a list costs no more than its beginning.

    Args:
        runs: identity, replicate and values of the factors, in the order in which they run.
    """

    def __init__(self, runs: Iterable[tuple[str, int, dict[str, Any]]]) -> None:
        self._ahead = iter(runs)
        self._held: deque[tuple[str, int, dict[str, Any]]] = deque()

    def proposals(self, account: Account) -> Iterator[Proposal]:
        """What of it is not in the account, in its order."""
        while self._held and self._held[0][:2] in account:
            self._held.popleft()
        for identity, replicate, params in self._held:
            if (identity, replicate) not in account:
                yield Proposal(params, replicate)
        for identity, replicate, params in self._ahead:
            if (identity, replicate) not in account:
                self._held.append((identity, replicate, params))
                yield Proposal(params, replicate)


def grid_settings(space: Space) -> list[dict[str, Any]]:
    """Every combination of the levels, in the order in which they run.

    Raises:
        UserError: a factor is continuous, or there are too many combinations.
    """
    for factor in space.factors:
        if factor.distribution.size() is None:
            place = space.written.where(factor.path)
            remedy = "name its levels with choice, or give a uniform a step"
            raise UserError(
                f"{place}: {factor.path} is continuous, which the design grid cannot run through: {remedy}"
            )
    count = space.combinations() or 0
    if count > MOST_GRID:
        place = space.written.where("search.design")
        raise UserError(f"{place}: search.design grid: {count} combinations are more than {MOST_GRID}")
    return list(every_setting(space))


def one_factor_settings(space: Space) -> list[dict[str, Any]]:
    """The base, then every other level of every factor that applies there, in the order in which they run.

    Raises:
        UserError: a level does not go with the base.
    """
    return [comparison.params for comparison in comparisons(space)]


DESIGNS: dict[DesignName, Callable[[Space, Identify], Design]] = {
    "optuna": Drawn,
    "grid": partial(Planned, settings=grid_settings),
    "listed": partial(Planned, settings=grid_settings),  # over its one factor, the run
    "one_factor": partial(Planned, settings=one_factor_settings),
}


def build_design(space: Space, identify: Identify) -> Design:
    """The design that a space names.

    Raises:
        UserError: the space does not fit its design.
    """
    return DESIGNS[space.settings.design](space, identify)
