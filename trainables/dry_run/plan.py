"""What a search would run, for ``--dry-run``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from minbert.dotted import leaves
from trainables.designs.design import build_design
from trainables.dry_run.comparison_table import add_row, empty_table, short_path, show_comparisons, wrapped
from trainables.spaces.around import Around
from trainables.spaces.distributions import label
from trainables.spaces.run_checks import identify
from trainables.spaces.runs import Run
from trainables.spaces.space import NO_FACTOR, Space


def show_plan(console: Console, space: Space, around: Around | None = None) -> int:
    """Print a space's factors, or the runs of a listed one, and how many trials there will be; returns that number.

    Args:
        console: where to.
        space: the space.
        around: where the base of a one_factor space came from; None: the space's own.

    Raises:
        UserError: the space does not fit its design.
    """
    settings = space.settings
    trials = build_design(space, lambda params: identify(space, params, {})).runs
    asked = f": {space.description}" if space.description else ""
    console.print(f"space {space.name}{asked}", highlight=False, markup=False)
    if space.runs.rows:
        _show_paper(console, space)
        console.print(_runs_table(space))
        wrapped(console, f"all runs: {_settings(space.base)}")
        _show_runs(console, space)
        _show_left_out(console, space, trials)
    elif not space.factors:
        console.print(NO_FACTOR)
    elif settings.design == "one_factor":
        show_comparisons(console, space, around)
    else:
        console.print(_factors_table(space))
        count = space.combinations()
        console.print(f"combinations: {count if count is not None else 'infinite (a factor is continuous)'}")
    sampler = f" ({settings.sampler})" if settings.design == "optuna" else ""
    console.print(
        f"trials: {trials}, replicates of a configuration: {settings.replicates}, "
        f"design: {settings.design}{sampler}, early stopping: {'on' if settings.early_stopping else 'off'}"
    )
    return trials


def _factors_table(space: Space) -> Table:
    table = empty_table("factor", "levels", "only where")
    for factor in space.factors:
        when = "; ".join(
            f"{path} is {' or '.join(map(label, values))}" for path, values in factor.when.items()
        )
        add_row(table, factor.path, factor.shown(", "), when)
    return table


def _show_paper(console: Console, space: Space) -> None:
    paper = space.paper
    if paper is None:
        return
    console.print(f"paper {paper.name}: {paper.title}".rstrip(": "), highlight=False, markup=False)
    for name, value in paper.setting.items():
        wrapped(console, f"{name}: {label(value)}")


def _runs_table(space: Space) -> Table:
    """The scores that the source reports; a column that is empty throughout is left out."""
    reported = [
        name for name in _columns(space) if any(name in run.reported for run in space.runs.rows.values())
    ]
    table = empty_table("run", *reported)
    for name, run in space.runs.rows.items():
        add_row(table, name, *(_score(run.reported.get(key)) for key in reported))
    return table


def _columns(space: Space) -> list[str]:
    return [*space.example().tasks, space.paper.average if space.paper else "overall"]


def _set(run: Run) -> str:
    """What makes a run, in short."""
    if run.members:
        return "takes the scores of " + ", ".join(f"{other} ({task})" for task, other in run.members.items())
    parts = [f"{kind} {other}" for kind, other in (("same as", run.same_as), ("like", run.like)) if other]
    return ", ".join([*parts, *filter(None, [_settings(run.set)])]) or "nothing else"


def _settings(tree: Mapping[str, Any]) -> str:
    return ", ".join(f"{short_path(path)}={label(value)}" for path, value in leaves(tree).items())


def _show_runs(console: Console, space: Space) -> None:
    """Print, a block a run, what it sets, how it was read, and what its table row has no room for."""
    for name, run in space.runs.rows.items():
        console.print(name, style="bold", highlight=False, markup=False)
        wrapped(console, f"sets: {_set(run)}" if not run.members else _set(run))
        for line in _further_scores(run.reported, _columns(space)):
            wrapped(console, line)
        for text in run.interpretation:
            wrapped(console, f"interpretation: {text}")
        for text in run.note:
            wrapped(console, f"note: {text}")


def _show_left_out(console: Console, space: Space, trials: int) -> None:
    """Say which runs are not run, where fewer trials were asked for."""
    missing = space.runs.trained[trials:]
    if missing:
        rows = space.runs.rows.items()
        partly = [name for name, run in rows if set(run.members.values()) & set(missing)]
        wrapped(console, f"not run: {', '.join(map(repr, missing))}")
        if partly:
            wrapped(console, f"without all their members: {', '.join(map(repr, partly))}")


def _further_scores(reported: Mapping[str, Any], shown: list[str]) -> Iterator[str]:
    for key, value in reported.items():
        if isinstance(value, Mapping):
            yield f"reported on {key}: " + " ".join(
                f"{task} {_score(score)}" for task, score in value.items()
            )
        elif key not in shown:
            yield f"reported {key}: {_score(value)}"


def _score(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float | int) else "–"
