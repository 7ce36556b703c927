"""A setting that is written at another level than its own: where it belongs."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from minbert.config import TrainConfig
from minbert.dotted import leaves

_USUAL = "stages.finetune."
"""The stage that is meant where nothing tells which."""
_SHOWN = 3


def belongs(path: str, others: Iterable[str] = ()) -> str:
    """``; did you mean stages.finetune.learning_rate?`` for ``learning_rate``; empty where no leaf has the key's name.

    Args:
        path: as it was written.
        others: leaves that there are besides those of the default configuration.
    """
    written = path.split(".")
    places = {place for place in (*_leaves(), *others) if place.split(".")[-1] == written[-1]} - {path}

    def rank(place: str) -> tuple[int, bool, int, str]:
        common = sum(one == other for one, other in zip(written[:-1], place.split("."), strict=False))
        return -common, not place.startswith(_USUAL), place.count("."), place

    nearest = sorted(places, key=rank)[:_SHOWN]
    return f"; did you mean {' or '.join(nearest)}?" if nearest else ""


@cache
def _leaves() -> tuple[str, ...]:
    return tuple(leaves(TrainConfig().model_dump(mode="json")))
