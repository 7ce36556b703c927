"""How many runs a space has, for looking at it."""

from __future__ import annotations

from trainables.designs.design import build_design
from trainables.spaces.counting import count
from trainables.spaces.run_checks import identify
from trainables.spaces.space import Space

MOST_PLANNED = 1_000
"""A larger grid is not gone through to find settings that train the same, which takes seconds."""


def runs_of(space: Space) -> int:
    """Runs in all, replicates counted; of a large grid as if all its settings trained differently.

    Raises:
        UserError: the space does not fit its design.
    """
    settings = space.settings
    if settings.design == "grid" and not space.runs.rows:
        counted = count(space)
        if not counted.continuous and counted.discrete > MOST_PLANNED:
            planned = counted.discrete * settings.replicates
            return planned if settings.trials is None else min(planned, settings.trials)
    return build_design(space, lambda params: identify(space, params, {})).runs
