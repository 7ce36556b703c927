"""What a user sees while a search runs: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import Any

from optuna.trial import FrozenTrial
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from minbert.history import is_evaluated
from trainables.ledger import Issue, Ledger
from trainables.watcher import Watcher

_REFRESH_SECONDS = 1.0


class Progress(Watcher):
    """Follows a search; use as a context manager.

    Args:
        ledger: the study's account.
        tasks: task names, for the columns.
        slots: trials that run at a time.
        console: where to print.
    """

    def __init__(self, ledger: Ledger, tasks: list[str], slots: int, console: Console) -> None:
        self._ledger, self._tasks, self._slots, self._console = ledger, tasks, slots, console
        self._running: dict[int, tuple[Issue, dict[str, Any]]] = {}
        self._began = time.monotonic()
        self._done_before = self._finished()
        self._drawn = 0.0
        self._live = (
            Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        )

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def issued(self, issue: Issue) -> None:
        self._running[issue.number] = (issue, {})
        if not self._live:
            self._say(f"{_named(issue)} started")

    def reported(self, issue: Issue, record: dict[str, Any]) -> None:
        self._running[issue.number] = (issue, record)
        if not self._live and is_evaluated(record):
            self._say(f"{_named(issue)} epoch {record['epoch']}: {self._scores(record)}")

    def ended(self, issue: Issue, trial: FrozenTrial) -> None:
        self._running.pop(issue.number, None)
        cause = trial.user_attrs.get("cause", "")
        if not self._live:
            state = {"FAIL": f"failed ({cause}): {trial.user_attrs.get('message', '')}"}.get(
                trial.state.name, trial.state.name.lower()
            )
            self._say(f"{_named(issue)} {state}; {self._counts()}; {self._time_left()}")

    def tick(self) -> None:
        """Draw again, at most once a second."""
        if self._live and time.monotonic() - self._drawn >= _REFRESH_SECONDS:
            self._drawn = time.monotonic()
            self._live.update(self._table(), refresh=True)

    def _table(self) -> Group:
        table = Table(box=None, pad_edge=False)
        for name in ("trial", "stage", "epoch", *self._tasks, "score"):
            table.add_column(name, justify="right" if name != "stage" else "left")
        for number, (issue, record) in sorted(self._running.items()):
            scores = record.get("select", {})
            flat = record.get("constant") or ()
            cells = [
                f"{scores[name]:.3f}{' constant' if name in flat else ''}" if name in scores else ""
                for name in (*self._tasks, "score")
            ]
            table.add_row(
                f"{number} {issue.run}".strip(),
                record.get("stage", "starting"),
                str(record.get("epoch", "")),
                *cells,
            )
        return Group(Text(f"{self._counts()}; {self._best()}; {self._time_left()}"), table)

    def _counts(self) -> str:
        counts = {state.name.lower(): count for state, count in self._ledger.states.items() if count}
        names = {"complete": "complete", "pruned": "stopped early", "fail": "failed", "running": "running"}
        parts = [f"{counts[state]} {name}" for state, name in names.items() if state in counts]
        return f"{self._finished()} of {self._ledger.target} trials done: " + (", ".join(parts) or "none yet")

    def _best(self) -> str:
        values = [
            (trial.value, trial.number)
            for trial in self._ledger.trials()
            if trial.state.name == "COMPLETE" and trial.value is not None
        ]
        if not values:
            return "no score yet"
        score, number = max(values)
        return f"best {score:.4f} (trial {number})"

    def _time_left(self) -> str:
        finished = self._finished() - self._done_before
        if not finished:
            return "time left: unknown until the first trial ends"
        left = self._ledger.unfinished * (time.monotonic() - self._began) / finished
        return f"about {_duration(left)} left"

    def _finished(self) -> int:
        return self._ledger.target - self._ledger.unfinished

    def _scores(self, record: dict[str, Any]) -> str:
        scores = " ".join(f"{name} {value:.3f}" for name, value in record["select"].items())
        return scores + "".join(f"; {task}: constant answer" for task in record.get("constant") or ())

    def _say(self, line: str) -> None:
        self._console.print(
            f"[{_duration(time.monotonic() - self._began)}] {line}", markup=False, highlight=False
        )


def _named(issue: Issue) -> str:
    return f"trial {issue.number}" + (f" ({issue.run})" if issue.run else "")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
    )
