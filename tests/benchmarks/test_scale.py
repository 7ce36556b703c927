"""The benchmark of large studies, on a small one."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from benchmarks.driver_account import PARTS, Stopwatch, Window, account
from benchmarks.scale import Ends, row, verdict
from tests.trainables.commands import SPACE
from trainables.designs.bounded_tpe import BEST, NEWEST
from trainables.spaces.space import load_space

FULL = NEWEST + BEST


def window(trials: int, **parts: float) -> Window:
    return Window(trials, {**dict.fromkeys(PARTS, 0.0), **parts}, 1.0, 1.0, 100.0, 500.0)


def busy(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_a_small_study_runs_to_its_end_and_every_part_costs_something(tmp_path: Path) -> None:
    space = load_space(str(SPACE)).fix("search.trials", 6).fix("search.sampler", "random")
    windows = list(account(tmp_path / "study", space, 2, [4]))
    assert [each.trials for each in windows] == [4, 6]
    for each in windows:
        assert all(each.parts[part] > 0 for part in PARTS if part not in ("result", "stopping"))
        assert each.results >= 1
        assert each.journal_kb > 0
        assert str(each.trials) in row(each)
    left = list((tmp_path / "study" / "trials").glob("*/best"))
    assert 0 < len(left) <= 6


def test_a_part_inside_another_one_counts_once_and_sleep_is_no_cpu_time() -> None:
    watch = Stopwatch()
    with watch.counting("outer"):
        busy(0.02)
        with watch.counting("inner"):
            busy(0.05)
            time.sleep(0.1)
    assert 0.02 <= watch.cpu["outer"] < 0.05 <= watch.cpu["inner"] < 0.1 <= watch.wall["inner"]


@pytest.mark.parametrize(("last", "said"), [(12.0, "does not grow"), (13.0, "grows, most of all tell")])
def test_growth_is_judged_from_where_the_sampler_has_all_that_it_learns_from(last: float, said: str) -> None:
    early, full = window(FULL, ask=1.0), window(2 * FULL, ask=9.0, tell=1.0)
    told = verdict([early, full, window(4 * FULL, ask=9.0, tell=last - 9.0)])
    assert told.startswith(f"a trial's cost {said}: 10 ms")
    assert "too few" in verdict([early, full])


def test_slots_are_judged_once_each_worker_has_had_a_trial(tmp_path: Path) -> None:
    ends = Ends(tmp_path, 0)
    ends.ends = [(1, 5.0, 50.0), (2, 6.0, 51.0), (3, 12.0, 51.1), (4, 12.0, 52.0)]
    assert ends.per_trial(2) == (3.0, 0.5)
