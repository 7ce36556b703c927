"""Events for scripts: a line of JSON each, on stdout, which then carries nothing else (docs/watching.md)."""

from __future__ import annotations

import json
import math
import os
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from minbert.errors import UserError
from trainables.studies.watcher import Watcher
from trainables.watching.follower import Follower
from trainables.watching.overview import SELECT, Overview
from trainables.watching.running_trials import Running
from trainables.watching.study_state import read_state

if TYPE_CHECKING:  # slow to import: optuna
    from optuna.trial import FrozenTrial

    from trainables.studies.ledger import Issue

_SECONDS_BETWEEN = 30.0
"""``progress`` comes so often when nothing else happens."""


class EventStream:
    """Writes events; once nobody reads them any more, nothing.

    Args:
        out: where they go.
    """

    def __init__(self, out: TextIO) -> None:
        self._out: TextIO | None = out
        self._writing = threading.Lock()

    def say(self, event: str, fields: Mapping[str, Any], last: bool = False) -> None:
        """Write an event at once; what is no finite number becomes null.

        Args:
            event: its name.
            fields: what it tells.
            last: whether nothing is to follow, whoever else may want to say something.
        """
        with self._writing:
            self._write(event, fields)
            if last:
                self._out = None

    def _write(self, event: str, fields: Mapping[str, Any]) -> None:
        if self._out is None:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps(_finite({"event": event, "time": now, **fields}), allow_nan=False)
        try:
            self._out.write(line + "\n")
            self._out.flush()
        except OSError as error:  # a search of hours does not end because its reader did
            self._out = None
            with suppress(OSError):
                print(
                    f"events cannot be written any more ({error.strerror}); the search goes on",
                    file=sys.stderr,
                )


def take_stdout() -> EventStream:
    """Keep stdout for events: what anything else prints there from now on, libraries too, goes to stderr."""
    if sys.stdout is None:
        raise UserError("--json: standard output is closed")
    sys.stdout.flush()
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2((sys.stderr or nowhere).fileno(), sys.stdout.fileno())
    return EventStream(out)


def say_finished(stream: EventStream | None, study: Path, how: str, code: int, command: str) -> None:
    """Say that a search has ended: the last event.

    Args:
        stream: where to; None: nowhere.
        study: the study's folder.
        how: finished, interrupted, out_of_time, stopped or failed.
        code: its exit code.
        command: that continues the study.
    """
    if stream is None:
        return
    fields: dict[str, Any] = {"how": how, "exit_code": code, "folder": str(study), "command": command}
    report = study / "report.html"
    with suppress(UserError, OSError):  # storage that is away
        fields["report"] = str(report) if report.is_file() else None
        fields |= as_plain(read_state(study).overview)
    stream.say("finished", fields, last=True)


class SearchEvents(Watcher):
    """Says what happens in a search.

    Args:
        stream: where to.
        follower: knows the search.
    """

    def __init__(self, stream: EventStream, follower: Follower) -> None:
        self._stream, self._follower = stream, follower
        self._last = time.monotonic()

    def begin(self) -> None:
        """Say what the study has come to so far."""
        self._progress("began")

    def waits(self, issue: Issue) -> None:
        self._stream.say("waiting", _of(issue))

    def issued(self, issue: Issue) -> None:
        self._stream.say("started", {**_of(issue), "replicate": issue.replicate, "seed": issue.config.seed})

    def reported(self, issue: Issue, record: dict[str, Any]) -> None:
        more = {"shared": bool(record.get("shared")), "train_loss": record.get("train_loss")}
        self._stream.say("epoch", {**running_as_plain(self._follower.at(issue.number, record)), **more})

    def ended(self, issue: Issue, trial: FrozenTrial) -> None:
        told = trial.user_attrs
        state = {"COMPLETE": "complete", "PRUNED": "pruned"}.get(trial.state.name, "failed")
        metrics = {
            name.removeprefix(SELECT): value
            for name, value in told.get("metrics", {}).items()
            if name.startswith(SELECT)
        }
        more = {"state": state, "scores": metrics, "best_epoch": told.get("best_epoch")}
        failed = {"cause": told.get("cause"), "message": told.get("message")} if state == "failed" else {}
        self._stream.say("ended", {**_of(issue), **more, **failed})
        self._progress("progress")

    def tick(self) -> None:
        """Say now and then how long it still takes."""
        if time.monotonic() - self._last >= _SECONDS_BETWEEN:
            self._progress("progress")

    def _progress(self, event: str) -> None:
        self._last = time.monotonic()
        self._stream.say(event, as_plain(self._follower.overview()))


def as_plain(overview: Overview) -> dict[str, Any]:
    """An overview as plain data."""
    best, failure, left = overview.best, overview.failure, overview.left
    return {
        "study": overview.name,
        "trials": overview.target,
        "done": overview.done,
        "complete": overview.complete,
        "pruned": overview.pruned,
        "failed": overview.failed,
        "causes": dict(overview.causes),
        "last_failure": failure
        and {"trial": failure.number, "cause": failure.cause, "message": failure.message},
        "best": best
        and {
            "trial": best.number,
            "score": best.score,
            "tasks": dict(best.tasks),
            "constant": list(best.constant),
        },
        "front": list(overview.front),
        "stages_shared": {"trials": overview.sharing, "seconds_saved": round(overview.saved, 1)},
        "taken_over": overview.taken_over,
        "running": [
            {**running_as_plain(trial), "doing": trial.doing or None, "share": trial.share}
            for trial in overview.running
        ],
        "waiting": list(overview.waiting),
        "seconds_left": left
        and {
            "about": round(left.about, 1),
            "low": round(left.low, 1),
            "high": round(left.high, 1),
            "rough": left.rough,
        },
    }


def running_as_plain(running: Running) -> dict[str, Any]:
    """A running trial as plain data."""
    return {
        "trial": running.number,
        "run": running.run,
        "stage": running.stage,
        "epoch": running.epoch,
        "epochs": running.epochs,
        "scores": dict(running.scores),
        "constant": list(running.constant),
        "seconds": round(running.elapsed, 1),
    }


def _of(issue: Issue) -> dict[str, Any]:
    return {"trial": issue.number, "run": issue.run}


def _finite(value: Any) -> Any:
    """A value without what JSON has no word for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value
