"""Where configurations come from: drawn by Optuna, every combination of a grid, one factor at a time, or a list.

A design decides from the account of what was started, which the journal holds, so that a driver
that takes over a study neither skips nor repeats a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
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

Account = Mapping[tuple[str, int], FrozenTrial]
"""What was started: trials by configuration and replicate, in the order of their numbers."""

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
        self._space, self._identify = space, identify
        self._replicates = space.settings.replicates
        self.runs = space.settings.trials or USUAL_TRIALS

    def proposals(self, account: Account, redrawn: int) -> Iterator[Proposal]:
        """Replicates that are due, then a draw; in a finite space, in the end only what is left of it."""
        for (identity, replicate), trial in account.items():
            if replicate == 0 and trial.state is TrialState.COMPLETE:
                for number in range(1, self._replicates):
                    if (identity, number) not in account:
                        yield Proposal(trial.params, number)
        if redrawn < REDRAWS or self._space.combinations() is None:
            yield Proposal(None)
            return
        for params in every_setting(self._space):
            if (self._identify(params), 0) not in account:
                yield Proposal(params)


class Planned:
    """Configurations that are known beforehand, each replicate of all of them before the next one.

    Settings with the same configuration are run once, as the first of them.

    Attributes:
        plan: values of the factors by name of the configuration, in the order in which they run.
    """

    def __init__(self, space: Space, identify: Identify, settings: Settings) -> None:
        self._replicates = space.settings.replicates
        self.plan: dict[str, dict[str, Any]] = {}
        for params in settings(space):
            self.plan.setdefault(identify(params), params)
        self.runs = len(self.plan) * self._replicates
        if space.settings.trials is not None:
            self.runs = min(self.runs, space.settings.trials)

    def proposals(self, account: Account, redrawn: int) -> Iterator[Proposal]:
        """What of the plan was not started, in its order."""
        for replicate in range(self._replicates):
            for identity, params in self.plan.items():
                if (identity, replicate) not in account:
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
