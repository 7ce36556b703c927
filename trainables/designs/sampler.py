"""What draws the values of a space's factors."""

from __future__ import annotations

import optuna

from trainables.designs.bounded_tpe import BoundedTPE
from trainables.spaces.space import Space


def build_sampler(space: Space, seed: int, trials_so_far: int) -> optuna.samplers.BaseSampler:
    """The sampler of a space; its seed moves on with the study, so that a restart draws new points."""
    settings = space.settings
    if settings.sampler == "random":
        return optuna.samplers.RandomSampler(seed=(seed + trials_so_far) % 2**32)
    return BoundedTPE(
        n_startup_trials=settings.startup_trials,
        multivariate=True,
        group=True,
        constant_liar=True,
        seed=(seed + trials_so_far) % 2**32,
    )
