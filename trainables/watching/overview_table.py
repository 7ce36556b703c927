"""Draws an overview: a few lines on the study, and a table of the trials that run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from rich.console import Group, RenderableType
from rich.text import Text

from trainables.watching.overview import Best, Overview
from trainables.watching.running_table import BEGUN, RunningTable
from trainables.watching.running_trials import Running
from trainables.watching.texts import duration, one_line, printable
from trainables.watching.time_left import TimeLeft

_SHOWN_OF_FRONT = 8


def draw(overview: Overview, room: tuple[int, int] | None = None, at_work: bool = True) -> Group:
    """The study's lines over the table of its running trials.

    Args:
        overview: what is drawn.
        room: columns and lines that there is room for; None: as many as it takes.
        at_work: whether a driver works on the study; else its trials are only continued by the next one.
    """
    lines = summary(overview, at_work)
    most = len(overview.running) if room is None else _rows_below(lines, *room)
    shown = overview.running[:most]
    parts: list[RenderableType] = [text_line(line) for line in lines]
    if shown:
        parts.append(RunningTable(shown, overview.tasks, at_work))
    if any(trial.constant for trial in shown):
        parts.append(text_line("* the same answer for every example", style="dim"))
    if len(overview.running) > len(shown):
        parts.append(text_line(f"… and {len(overview.running) - len(shown)} more", style="dim"))
    return Group(*parts)


def text_line(line: str, style: str = "") -> Text:
    """A line that goes on in the next row where the terminal ends, whatever the console's own rule."""
    return Text(printable(line), style=style, no_wrap=False, overflow="fold")


def summary(overview: Overview, at_work: bool = True) -> list[str]:
    """What a study has come to, a line a matter."""
    lines = [f"{overview.name}: {counts(overview, at_work)}", best(overview)]
    if failed := failures(overview):
        lines.append(failed)
    if shared := sharing(overview):
        lines.append(shared)
    if overview.waiting:
        count = len(overview.waiting)
        lines.append(
            f"{_trials(count)} {'waits' if count == 1 else 'wait'} for a stage that another one makes,"
            f" or {'is' if count == 1 else 'are'} about to start"
        )
    if overview.done < overview.target:
        lines.append(f"time left{'' if at_work else ' once it is continued'}: {left(overview.left)}")
    return lines


def counts(overview: Overview, at_work: bool = True) -> str:
    """How many trials are done, and how they ended; those under way are ``running`` while a driver is at work."""
    numbers = {
        "complete": overview.complete,
        "stopped early": overview.pruned,
        "failed": overview.failed,
        "running" if at_work else BEGUN: len(overview.running),
    }
    parts = ", ".join(f"{number} {name}" for name, number in numbers.items() if number)
    return f"{overview.done} of {overview.target} trials done" + (f": {parts}" if parts else "")


def best(overview: Overview) -> str:
    """The best trial, and how many no other one beats in every task."""
    if overview.best is None:
        return "no trial is complete yet"
    front = ", ".join(map(str, overview.front[:_SHOWN_OF_FRONT]))
    more = " …" if len(overview.front) > _SHOWN_OF_FRONT else ""
    count = len(overview.front)
    return f"{_best(overview.best)}; Pareto front: {_trials(count)}" + (f" ({front}{more})" if count else "")


def leader(overview: Overview) -> str:
    """The best score and whose it is, in short."""
    if overview.best is None:
        return "no score yet"
    return f"best {overview.best.score:.4f} (trial {overview.best.number})"


def failures(overview: Overview) -> str:
    """How many trials failed for which cause, and the last one's message; empty where none did."""
    if overview.failure is None:
        return ""
    causes = ", ".join(f"{count} {cause}" for cause, count in overview.causes.items())
    return f"failed: {causes}; last: trial {overview.failure.number}: {one_line(overview.failure.message)}"


def sharing(overview: Overview) -> str:
    """How many trials took stages from others, and what that saved; empty where none did."""
    parts = []
    if overview.sharing:
        parts.append(
            f"{_trials(overview.sharing)} took stages made by others: {duration(overview.saved)} saved"
        )
    if overview.taken_over:
        parts.append(f"{_trials(overview.taken_over)} taken over from another study")
    return "; ".join(parts)


def left(time: TimeLeft | None) -> str:
    """Time left with its uncertainty: ``about 12 min (9 to 17)``."""
    if time is None:
        return "not known yet"
    unit, name = _unit(time.about)
    low, about, high = (_in_unit(seconds, unit) for seconds in (time.low, time.about, time.high))
    bounds = f" ({low} to {high})" if low != high else ""
    return f"about {about} {name}{bounds}" + ("; a guess until the first trial ends" if time.rough else "")


def scores(running: Running) -> str:
    """The scores of a trial's last epoch in one line."""
    return _metrics(running.scores, running.constant)


def _rows_below(lines: list[str], columns: int, rows: int) -> int:
    """Trials that a table has room for below these lines, beside its head and two notes."""
    taken = sum(math.ceil(len(line) / max(columns, 1)) for line in lines)
    return max(rows - taken - 3, 1)


def _best(found: Best) -> str:
    tasks = _metrics(found.tasks, found.constant)
    return f"best: trial {found.number}, score {found.score:.4f}" + (f" ({tasks})" if tasks else "")


def _metrics(values: Mapping[str, float], constant: Iterable[str]) -> str:
    """A constant answer is told beside its metric, which may look fair: the share of the commonest label."""
    told = " ".join(f"{name} {value:.3f}" for name, value in values.items())
    return told + "".join(f"; {task}: constant answer" for task in constant)


def _trials(count: int) -> str:
    return f"{count} trial{'s' * (count != 1)}"


def _unit(seconds: float) -> tuple[float, str]:
    """The unit in which a time is said, and its seconds."""
    if seconds < 180:
        return 1.0, "s"
    return (
        (60.0, "min") if seconds < 3 * 3600 else (3600.0, "h") if seconds < 3 * 86400 else (86400.0, "days")
    )


def _in_unit(seconds: float, unit: float) -> str:
    value = seconds / unit
    if not math.isfinite(value):
        return "?"
    if unit > 60 and value < 10:
        return f"{value:.1f}"
    return f"{value:.0f}" if value >= 0.5 or unit == 1 else "<1"
