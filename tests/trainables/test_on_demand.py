"""When a search asks for a machine at the full price; tests/cluster has the whole way, against an imitation of AWS."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from trainables.machines.on_demand import PATIENCE_SECONDS, OnDemand, Supply

NOTHING = Supply(there=0, coming=0, awaited=True)
COMING = Supply(there=0, coming=1, awaited=True)
THERE = Supply(there=1, coming=0, awaited=True)
NOBODY_WAITS = Supply(there=0, coming=0, awaited=False)


def asked(supplies: Iterable[tuple[float, Supply]]) -> tuple[list[Any], list[str]]:
    """What is asked for (+) and taken back (-), and when; and what is said."""
    happened: list[Any] = []
    said: list[str] = []

    def ask() -> Any:
        happened.append(("+", now))
        return lambda: happened.append(("-", now))

    machines = OnDemand(ask, said.append)
    for now, supply in supplies:
        machines.look(supply, now)
    return happened, said


def every_five_seconds(start: float, end: float, supply: Supply) -> list[tuple[float, Supply]]:
    return [(float(second), supply) for second in range(int(start), int(end), 5)]


def test_one_is_asked_for_once_none_came_for_a_while_and_taken_back_when_one_is_there() -> None:
    happened, said = asked([*every_five_seconds(0, 600, NOTHING), (600, COMING), (700, THERE), (900, THERE)])
    assert happened == [("+", PATIENCE_SECONDS), ("-", 700)]
    assert said == ["no machine could be had for 120 s: one on demand is asked for, at the full price"]


def test_none_is_asked_for_while_one_is_on_its_way_however_long_that_takes() -> None:
    looks = [
        *every_five_seconds(0, 100, NOTHING),
        *every_five_seconds(100, 900, COMING),
        *every_five_seconds(900, 1000, NOTHING),
    ]
    assert asked(looks) == ([], [])


def test_none_is_asked_for_where_nobody_waits_or_machines_are_there() -> None:
    assert asked(every_five_seconds(0, 900, NOBODY_WAITS)) == ([], [])
    assert asked(every_five_seconds(0, 900, THERE)) == ([], [])


def test_it_is_asked_for_again_when_that_one_too_is_lost() -> None:
    looks = [
        *every_five_seconds(0, 200, NOTHING),
        (200, THERE),
        *every_five_seconds(300, 600, NOTHING),
    ]
    assert [each for each, _ in asked(looks)[0]] == ["+", "-", "+"]


def test_nothing_is_said_of_a_machine_that_could_not_be_asked_for() -> None:
    said: list[str] = []

    def ask() -> Any:
        raise RuntimeError("the head is busy")

    machines = OnDemand(ask, said.append)
    for now, supply in every_five_seconds(0, 300, NOTHING):
        with suppress(RuntimeError):
            machines.look(supply, now)
    assert said == []
