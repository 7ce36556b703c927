"""What a one_factor search would run, for ``--dry-run``: the base, then every level as a row."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from minbert.config import TrainConfig
from minbert.dotted import leaves
from trainables.spaces.around import Around
from trainables.spaces.distributions import Choice, label
from trainables.spaces.one_factor import Comparison, comparisons, level_values, not_varied, spread
from trainables.spaces.run_checks import identify
from trainables.spaces.space import Space

_WIDEST_NOTE = 110


def show_comparisons(console: Console, space: Space, around: Around | None) -> None:
    """Print base, levels, what is not varied, and the number of configurations.

    Raises:
        UserError: a level does not go with the base.
    """
    base, *others = comparisons(space)
    console.print(f"base: {_origin(around)}", highlight=False, markup=False)
    if around is not None:
        wrapped(console, ", ".join(_carried_over(space, base)))
    known = {identify(space, base.params, {}): "the base"}
    table = empty_table("factor", "level", "besides")
    for path, value in base.params.items():
        add_row(table, path, label(value), "base")
        for other in others:
            if other.factor == path:
                name = f"{path} {label(other.level)}"
                twin = known.setdefault(identify(space, other.params, {}), name)
                same = [] if twin == name else [f"trains the same as {twin}, which runs once"]
                add_row(table, "", label(other.level), "; ".join([*_besides(base, other), *same]))
    console.print(table)
    for line in [*_not_varied(space), *_ranges(space, base.params)]:
        console.print(line, highlight=False, markup=False, soft_wrap=not console.is_terminal)
    console.print(f"configurations: {len(known)}, each with {space.settings.replicates} replicates")


def empty_table(first: str, *others: str) -> Table:
    """A table without lines whose first column keeps its width."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, overflow="fold")
    return table


def add_row(table: Table, *cells: str) -> None:
    """Add a row as it is: rich would take a list in brackets for markup."""
    table.add_row(*map(Cell, cells))


@dataclass(frozen=True)
class Cell:
    """A text that is folded between words, and inside a path that is longer than a line at its dots."""

    text: str

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, Text(self.text))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text("\n".join(folded(self.text, options.max_width)))


def folded(text: str, width: int) -> list[str]:
    """The lines of a text that has ``width`` characters; a path that needs more than a line ends one with a dot or
    underscore."""
    words = [part for word in text.split() for part in _parts(word, width)]
    return textwrap.wrap(" ".join(words), width, break_on_hyphens=False)


def wrapped(console: Console, text: str) -> None:
    """Print a long text indented, on a few lines."""
    width = max(40, min(console.width, _WIDEST_NOTE))
    for line in textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="    "):
        console.print(line, highlight=False, markup=False)


def short_path(path: str) -> str:
    """A path without what is clear from its rest."""
    for prefix in ("tasks.", "stages."):
        path = path.removeprefix(prefix)
    return path.removesuffix(".kind")


def _parts(word: str, width: int) -> list[str]:
    if len(word) <= width:
        return [word]
    parts = [""]
    for piece in re.findall(r"[^._]+[._]*|[._]+", word):
        if parts[-1] and len(parts[-1] + piece) > width:
            parts.append("")
        parts[-1] += piece
    return parts


def _origin(around: Around | None) -> str:
    if around is None:
        return "the space's own"
    trials = ", ".join(map(str, around.trials))
    return f"the best of {around.study}: {around.config_id}, mean select score {around.score:.3f} (trials {trials})"


def _carried_over(space: Space, base: Comparison) -> Iterator[str]:
    """What the base sets beside the factors, where it is not the default; of stages, those that run."""
    config = space.build(base.params)
    usual, set_there = (leaves(each.model_dump(mode="json")) for each in (TrainConfig(), config))
    idle = [f"stages.{name}." for name in config.stages if name not in dict(config.running_stages())]
    for path, value in set_there.items():
        ours = any(factor.owns(path) for factor in space.factors)
        if value != usual.get(path) and not ours and not path.startswith(tuple(idle)):
            yield f"{short_path(path)}={label(value)}"


def _besides(base: Comparison, other: Comparison) -> Iterator[str]:
    """What else changes with a level: factors that no longer apply, or only now."""
    dropped = [path for path in base.params if path not in other.params]
    if dropped:
        yield "without " + ", ".join(map(short_path, dropped))
    added = [
        f"{short_path(path)} {label(value)}"
        for path, value in other.params.items()
        if path not in base.params
    ]
    if added:
        yield "with " + ", ".join(added)


def _not_varied(space: Space) -> Iterator[str]:
    for path, reason in not_varied(space).items():
        yield f"not varied: {path}: {reason}"


def _ranges(space: Space, base: Mapping[str, Any]) -> Iterator[str]:
    """Which values stand for ranges that are not run through."""
    for factor in space.factors:
        distribution = factor.distribution
        if (
            factor.path in base
            and not isinstance(distribution, Choice)
            and distribution.size() != len(spread(distribution))
        ):
            low, high = distribution.levels()
            levels = ", ".join(label(level) for level in level_values(space, factor))
            yield f"{factor.path}: {levels} stand for {distribution.kind} [{label(low)}, {label(high)}]"
