"""Comparisons like for like: the runs of a group cross their factors, and nothing else differs."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from minbert.canonical import canonical
from minbert.config import MultitaskStage
from minbert.dotted import leaves
from trainables.spaces.runs import RUN
from trainables.spaces.space import Space, load_space

GROUPS: dict[str, list[tuple[str, str, str]]] = {
    "steps": list(
        itertools.product(("annealed", "round robin"), ("cross", "dot"), ("3000 steps", "567 steps"))
    ),
    "smart": list(itertools.product(("QQP first", "straight"), ("mean", "CLS"), ("SMART", "no SMART"))),
}

CHANGED = {
    "steps": ("stages.finetune.sampler", "model.tasks.sts.head", "stages.finetune.epoch_steps"),
    "smart": ("stages.qqp_first", "model.pooling", "stages.finetune.smart"),
}
"""What each word of a run's name stands for."""


@pytest.fixture(scope="module")
def confounds() -> Space:
    return load_space("confounds")


def flat(space: Space, run: str) -> dict[str, Any]:
    """Leaves of a run's configuration that have an effect, by dotted path."""
    found = canonical(space.config({RUN: run}))
    return leaves({**found, "stages": dict(found["stages"]), "model": _by_task(found["model"])})


def _by_task(model: dict[str, Any]) -> dict[str, Any]:
    return {**model, "tasks": dict(model["tasks"])}


@pytest.mark.parametrize(
    ("group", "place"), [(group, place) for group in GROUPS for place in range(3)], ids=str
)
def test_runs_that_differ_in_one_word_differ_in_one_setting(group: str, place: int, confounds: Space) -> None:
    compared = 0
    for one, other in itertools.combinations(GROUPS[group], 2):
        if [at for at in range(3) if one[at] != other[at]] == [place]:
            before, after = flat(confounds, ", ".join(one)), flat(confounds, ", ".join(other))
            differing = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
            assert {section(path) for path in differing} == {CHANGED[group][place]}, (one, other)
            compared += 1
    assert compared == 4


def section(path: str) -> str:
    """The setting that a leaf belongs to."""
    return next((each for group in CHANGED.values() for each in group if path.startswith(each)), path)


def test_dropout_crosses_with_every_way_of_taking_turns(confounds: Space) -> None:
    for kind, name in (("round_robin", "round robin"), ("random", "random"), ("concurrent", "surgery")):
        found = [confounds.config({RUN: f"{name}, dropout {rate}"}) for rate in (".1", ".3", ".5")]
        tuned = [each.stages["finetune"] for each in found]
        assert [stage.dropout for stage in tuned] == [0.1, 0.3, 0.5]
        for stage in tuned:
            assert isinstance(stage, MultitaskStage)
            assert (stage.sampler.kind, stage.epochs, stage.batch_size) == (kind, 5, 64)
            assert stage.pcgrad == (name == "surgery")


def test_what_surgery_takes_of_memory_is_compared_with_a_run_that_differs_in_it_alone(
    confounds: Space,
) -> None:
    one, other = (
        leaves(confounds.config({RUN: f"{name}, dropout .1"}).model_dump())
        for name in ("surgery", "no surgery")
    )
    assert {path for path in one if one[path] != other.get(path)} == {"stages.finetune.pcgrad"}


def test_all_runs_are_chosen_on_one_half_of_dev_and_reported_on_the_other(confounds: Space) -> None:
    assert len(confounds.runs.rows) == 8 + 8 + 9 + 1
    for name in confounds.runs.rows:
        assert confounds.config({RUN: name}).selection == "dev_half"
