"""The papers' spaces as their tests use them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from minbert.config import MultitaskStage, TrainConfig
from tests.search_spaces.paper_tables import TASKS, Row
from trainables.spaces.runs import RUN, Run
from trainables.spaces.space import Space, load_space


@cache
def space(paper: str) -> Space:
    return load_space(f"papers/{paper}")


@cache
def config(paper: str, run: str) -> TrainConfig:
    return space(paper).config({RUN: run})


def configs(paper: str) -> Iterator[tuple[str, TrainConfig]]:
    """Every run that has a configuration."""
    yield from ((name, config(paper, name)) for name in space(paper).runs.configured)


def run_of(paper: str, name: str) -> Run:
    return space(paper).runs.rows[name]


def trained_for(paper: str, row: Row) -> list[tuple[str, str]]:
    """(task, run) of a row: its members, or the row's own run for every task."""
    members = run_of(paper, row.name).members
    return list(members.items()) if members else [(task, row.name) for task in TASKS]


def last(found: TrainConfig) -> MultitaskStage:
    stage = found.running_stages()[-1][1]
    assert isinstance(stage, MultitaskStage)
    return stage


def stages(found: TrainConfig) -> list[str]:
    return [name for name, _ in found.running_stages()]
