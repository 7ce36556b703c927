"""The table of running trials in terminals of every width: no number of it is ever cut."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console
from rich.live import Live

from trainables.watching.running_table import RunningTable
from trainables.watching.running_trials import Running

TASKS = ("sst", "qqp", "sts", "reviews")
SCORES = {"sst": 0.812, "qqp": 0.823, "sts": 0.834, "reviews": 0.845, "score": 0.828}
NUMBERS = ["0.812", "0.823*", "0.834", "0.845", "0.828"]
TRIALS = (
    Running(7, "", "finetune", 10, 12, "scoring", 0.72, SCORES, ("qqp",), 1510.0),
    Running(118, "", "supervised_simcse", 1, 1, "training", 0.881, {}, (), 65.0),
    Running(119, elapsed=2.0),
)


def lines(table: RunningTable, columns: int) -> list[str]:
    written = io.StringIO()
    Console(file=written, width=columns, soft_wrap=True).print(table)
    found = [line.rstrip() for line in written.getvalue().splitlines()]
    assert max(map(len, found)) <= columns
    assert len(found) == len(table.trials) + 1
    return found


@pytest.mark.parametrize(
    ("columns", "header", "first"),
    [
        (120, ["epoch", "done", *TASKS, "score", "time"], ["10/12", "scoring", "72%", *NUMBERS, "25", "min", "10", "s"]),
        (85, ["epoch", "done", *TASKS, "score", "time"], ["10/12", "scoring", "72%", *NUMBERS, "25", "min"]),
        (80, ["epoch", "done", *TASKS, "score"], ["10/12", "scoring", "72%", *NUMBERS]),
        (70, ["epoch", *TASKS, "score"], ["10/12", *NUMBERS]),
        (60, ["epoch", *TASKS, "score"], ["10/12", *NUMBERS]),
        (50, [*TASKS, "score"], NUMBERS),
        (40, ["sst", "qqp", "score"], ["0.812", "0.823*", "0.828"]),
    ],
)  # fmt: skip
def test_columns_go_one_after_the_other_and_no_number_is_cut(
    columns: int, header: list[str], first: list[str]
) -> None:
    found = lines(RunningTable(TRIALS, TASKS, at_work=True), columns)
    assert found[0].split() == ["trial", "stage", *header]
    assert found[1].split() == ["7", "finetune", *first]
    assert found[2].split()[0] == "118" and found[2].split()[1].startswith("supervi")
    assert found[3].split()[:2] == ["119", "starting"]


def test_the_end_of_a_long_name_is_cut_before_epochs_go() -> None:
    (row,) = [line for line in lines(RunningTable(TRIALS, TASKS, at_work=True), 60) if "118" in line]
    assert re.fullmatch(r"118 superv\w+… +1/1", row.strip())
    run = Running(7, "with_a_very_long_name_of_a_run", "finetune", 1, 3, scores=SCORES)
    assert lines(RunningTable([run], TASKS, at_work=True), 60)[1].split()[:2] == ["7", "with_a_…"]


def test_a_task_may_have_the_name_of_a_column() -> None:
    trial = Running(1, "", "finetune", 1, 3, scores={"time": 0.5, "done": 0.25, "score": 0.375})
    found = lines(RunningTable([trial], ("time", "done"), at_work=True), 40)
    assert found[0].split()[-3:] == ["time", "done", "score"]
    assert found[1].split()[-3:] == ["0.500", "0.250", "0.375"]


def test_without_a_driver_no_time_passes() -> None:
    found = lines(RunningTable(TRIALS, TASKS, at_work=False), 120)
    assert found[0].split()[-1] == "score"
    assert "begun, no epoch done" in found[3]


def test_a_live_display_gives_it_the_width_of_the_terminal() -> None:
    written = io.StringIO()
    with Live(console=Console(file=written, width=60, force_terminal=True), auto_refresh=False) as live:
        live.update(RunningTable(TRIALS, TASKS, at_work=True), refresh=True)
    assert all(number in written.getvalue() for number in NUMBERS)
