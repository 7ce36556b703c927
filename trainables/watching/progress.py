"""What a user sees while a search runs: a live table in a terminal, plain lines elsewhere; and what scripts read."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial
from rich.console import Console
from rich.live import Live

from minbert.history import is_evaluated
from trainables.studies.ledger import Issue, Ledger
from trainables.studies.watcher import Watcher
from trainables.watching import overview_table
from trainables.watching.events import EventStream, SearchEvents
from trainables.watching.follower import Follower
from trainables.watching.texts import duration, one_line

_REFRESH_SECONDS = 1.0


@dataclass(frozen=True)
class Outlets:
    """Where a search tells of itself, besides the terminal.

    Attributes:
        events: where lines for scripts go; None: nowhere.
        tensorboard: whether there are logs for TensorBoard in the study's folder.
    """

    events: EventStream | None = None
    tensorboard: bool = False


class Progress(Watcher):
    """Follows a search and tells of it; use as a context manager.

    Args:
        ledger: the study's account.
        study: the study's folder.
        name: of the study.
        tasks: task names, for the columns.
        console: where to print.
        outlets: where else to tell.

    Attributes:
        follower: knows what the search has come to.
    """

    def __init__(
        self, ledger: Ledger, study: Path, name: str, tasks: Sequence[str], console: Console, outlets: Outlets
    ) -> None:
        self.follower = Follower(study, name, tasks, ledger)
        self._display: LiveTable | PlainLines = (
            LiveTable(self.follower, console) if console.is_terminal else PlainLines(self.follower, console)
        )
        self._open = ExitStack()
        self._told: list[Watcher] = [self._display]
        if outlets.tensorboard:
            from trainables.watching.tensorboard_logs import TensorBoardLogs  # noqa: PLC0415 - slow to import: torch

            logs = TensorBoardLogs(study)
            logs.catch_up(ledger.trials(), console.print)
            self._told.append(self._open.enter_context(logs))
        self._events = SearchEvents(outlets.events, self.follower) if outlets.events else None
        if self._events:
            self._events.begin()
            self._told.append(self._events)

    def __enter__(self) -> Progress:
        self._open.enter_context(self._display)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def waits(self, issue: Issue) -> None:
        self.follower.waits(issue)
        for each in self._told:
            each.waits(issue)

    def issued(self, issue: Issue) -> None:
        self.follower.issued(issue)
        for each in self._told:
            each.issued(issue)

    def reported(self, issue: Issue, record: dict[str, Any]) -> None:
        if self.follower.is_told(issue.number, record):
            return
        self.follower.reported(issue, record)
        for each in self._told:
            each.reported(issue, record)

    def ended(self, issue: Issue, trial: FrozenTrial) -> None:
        self.follower.ended(issue, trial)
        for each in self._told:
            each.ended(issue, trial)

    def tick(self) -> None:
        """Show the time that has passed."""
        self._display.tick()
        if self._events:
            self._events.tick()


class LiveTable(Watcher):
    """The study and its running trials, drawn again in place at most once a second."""

    def __init__(self, follower: Follower, console: Console) -> None:
        self._follower, self._console = follower, console
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._drawn = 0.0

    def __enter__(self) -> LiveTable:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def tick(self) -> None:
        """Draw again if it is time to."""
        if time.monotonic() - self._drawn >= _REFRESH_SECONDS:
            self._drawn = time.monotonic()
            drawn = overview_table.draw(
                self._follower.overview(), (self._console.width, self._console.height - 1)
            )
            self._live.update(drawn, refresh=True)


class PlainLines(Watcher):
    """A line for every start, scored epoch and end of a trial."""

    def __init__(self, follower: Follower, console: Console) -> None:
        self._follower, self._console = follower, console
        self._began = time.monotonic()

    def __enter__(self) -> PlainLines:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def tick(self) -> None:
        """Nothing is drawn again."""

    def issued(self, issue: Issue) -> None:
        self._say(f"{_named(issue)} started")

    def reported(self, issue: Issue, record: dict[str, Any]) -> None:
        if is_evaluated(record):
            running = self._follower.at(issue.number, record)
            of = f" of {running.epochs}" if running.epochs else ""
            self._say(f"{_named(issue)} epoch {running.epoch}{of}: {overview_table.scores(running)}")

    def ended(self, issue: Issue, trial: FrozenTrial) -> None:
        cause, message = trial.user_attrs.get("cause"), trial.user_attrs.get("message") or ""
        state = {
            "FAIL": f"failed ({cause}): {one_line(message)}",
            "PRUNED": "stopped early",
        }.get(trial.state.name, "complete")
        now = self._follower.overview()
        left = f"; {overview_table.left(now.left)} left" if now.done < now.target else ""
        self._say(
            f"{_named(issue)} {state}; {overview_table.counts(now)}; {overview_table.leader(now)}{left}"
        )

    def _say(self, line: str) -> None:
        passed = duration(time.monotonic() - self._began)
        self._console.print(f"[{passed}] {line}", markup=False, highlight=False)


def _named(issue: Issue) -> str:
    return f"trial {issue.number}" + (f" ({issue.run})" if issue.run else "")
