"""Settings that nothing comes of where they stand, and what they would need."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence

import pydantic

from minbert.canonical import config_id
from minbert.config import TrainConfig, build_config, content_of
from minbert.dotted import get, put

_NOT_TRAINED = {
    "data",
    "encoder",
    "seed",
    "device",
    "precision",
    "threads",
    "files",
    "labels",
    "ordered",
    "conflict_batches",
}
"""Sources and numerics, which a study pins, what only looks, and what only the report reads."""
_NEEDS = (
    (r"warmup_share", "warmup_steps to be unset"),
    (r"mlm_share", "an mlm_weight above 0"),
    (r"smart\.(steps|step_size|noise|gradient|radius)", "a smart.weight above 0"),
    (r"smart\.momentum", "a smart.bregman above 0"),
    (r"mnr\.share", "mnr.tasks"),
    (r"weighting", "a second epoch: adaptive weights follow the scores of the epoch before"),
    (r"micro_batch_size", "a batch_size above it"),
    (r"sampler(\..*)?", "several tasks in the stage"),
)


def is_trained(path: str) -> bool:
    """Whether a leaf says something about training, and not where data come from or what only looks."""
    return _NOT_TRAINED.isdisjoint(path.split("."))


def idle_leaves(paths: Iterable[str], configs: Sequence[TrainConfig]) -> Iterator[str]:
    """Those leaves that differ from their default and change the training of no configuration.

    A leaf that is unset by default may say what that means anyway, and is passed over.

    Args:
        paths: leaves that were written.
        configs: everything that is trained with them.
    """
    mixed = random.Random(0).sample(
        configs, len(configs)
    )  # neighbours are alike: one that needs the leaf comes soon
    for path in filter(is_trained, paths):
        if configs and all(_is_idle(path, config) for config in mixed):
            yield path


def reason(path: str, configs: Sequence[TrainConfig]) -> str:
    """Why a leaf has no effect, for a message."""
    stage = re.match(r"stages\.([^.]+)\.?(.*)", path)
    if stage and all(stage[1] not in dict(config.running_stages()) for config in configs):
        return f"it needs {stage[1]!r} in recipe with epochs above 0"
    for pattern, need in _NEEDS:
        if stage and re.fullmatch(pattern, stage[2]):
            return f"it needs {need}"
    return "whatever is trained is trained the same without it"


def _is_idle(path: str, config: TrainConfig) -> bool:
    content = content_of(config)
    try:
        without = build_config(put(content, path, None))
    except pydantic.ValidationError:
        return False
    default = get(without.model_dump(mode="json"), path, None)
    other = default is not None and get(content, path, None) != default
    return other and config_id(config) == config_id(without)
