"""What a search would run, for ``--dry-run``."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from trainables.designs import build_design
from trainables.distributions import label
from trainables.run_checks import identify
from trainables.runs import Run
from trainables.space_trees import leaves
from trainables.spaces import Space

_WIDEST_NOTE = 110


def show_plan(console: Console, space: Space) -> None:
    """Print a space's factors, or the runs of a listed one, and how many trials there will be.

    Raises:
        UserError: the space does not fit its design.
    """
    settings = space.settings
    trials = build_design(space, lambda params: identify(space, params, {})).runs
    console.print(f"space {space.name}: {space.description}", highlight=False, markup=False)
    if space.runs.rows:
        _show_paper(console, space)
        console.print(_runs_table(space))
        _show_readings(console, space)
    else:
        console.print(_factors_table(space))
        count = space.combinations()
        console.print(f"combinations: {count if count is not None else 'infinite (a factor is continuous)'}")
    sampler = f" ({settings.sampler})" if settings.design == "optuna" else ""
    console.print(
        f"trials: {trials}, replicates of a configuration: {settings.replicates}, "
        f"design: {settings.design}{sampler}, early stopping: {'on' if settings.early_stopping else 'off'}"
    )


def _factors_table(space: Space) -> Table:
    table = _table("factor", "levels", "only where")
    for factor in space.factors:
        when = "; ".join(f"{path} is {' or '.join(map(str, values))}" for path, values in factor.when.items())
        _add(table, factor.path, ", ".join(factor.levels()), when)
    return table


def _show_paper(console: Console, space: Space) -> None:
    paper = space.paper
    if paper is None:
        return
    console.print(f"paper {paper.name}: {paper.title}".rstrip(": "), highlight=False, markup=False)
    for name, value in paper.setting.items():
        _wrapped(console, f"{name}: {label(value)}")


def _runs_table(space: Space) -> Table:
    tasks = list(space.example().tasks)
    average = space.paper.average if space.paper else "overall"
    table = _table("run", "sets", *tasks, average)
    for name, run in space.runs.rows.items():
        _add(table, name, _set(run), *(_score(run.reported.get(key)) for key in (*tasks, average)))
    return table


def _set(run: Run) -> str:
    """What makes a run, in short."""
    if run.members:
        return "scores of " + ", ".join(f"{other} ({task})" for task, other in run.members.items())
    parts = [f"{kind} {other}" for kind, other in (("same as", run.same_as), ("like", run.like)) if other]
    parts += [f"{_short(path)}={label(value)}" for path, value in leaves(run.set).items()]
    return ", ".join(parts) or "nothing"


def _show_readings(console: Console, space: Space) -> None:
    """Print, a block a run, what its table row has no room for."""
    main = [*space.example().tasks, space.paper.average if space.paper else "overall"]
    for name, run in space.runs.rows.items():
        lines = [*_further_scores(run.reported, main)]
        lines += [f"interpretation: {text}" for text in run.interpretation]
        lines += [f"note: {text}" for text in run.note]
        if lines:
            console.print(name, style="bold", highlight=False, markup=False)
        for line in lines:
            _wrapped(console, line)


def _further_scores(reported: Mapping[str, Any], shown: list[str]) -> Iterator[str]:
    for key, value in reported.items():
        if isinstance(value, Mapping):
            yield f"reported on {key}: " + " ".join(
                f"{task} {_score(score)}" for task, score in value.items()
            )
        elif key not in shown:
            yield f"reported {key}: {_score(value)}"


def _wrapped(console: Console, text: str) -> None:
    width = max(40, min(console.width, _WIDEST_NOTE))
    for line in textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="    "):
        console.print(line, highlight=False, markup=False)


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, overflow="fold")
    return table


def _add(table: Table, *cells: str) -> None:
    """Add a row as it is: rich would take a list in brackets for markup."""
    table.add_row(*map(Text, cells))


def _score(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float | int) else "–"


def _short(path: str) -> str:
    for prefix in ("tasks.", "stages."):
        path = path.removeprefix(prefix)
    return path.removesuffix(".kind")
