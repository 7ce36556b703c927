"""What a study has come to, from any terminal: ``python -m trainables.status results/full_ablation``.

Reads alone: a search that runs is not disturbed, and a finished or dead study is left as it is. Of a study in an object
store, what is new is fetched each time.
"""

from __future__ import annotations

import argparse
import io
import shlex
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext, redirect_stderr, suppress
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from minbert.command_line import Parser, nameable, number, run
from minbert.remote.object_store import open_store
from minbert.remote.urls import is_url
from minbert.terminal import PlainConsole
from trainables.studies.driver_sign import Driver
from trainables.watching import overview_table
from trainables.watching.events import EventStream, as_plain
from trainables.watching.study_state import NotYetBegun, StudyState, read_remote, read_state
from trainables.watching.texts import duration

_WIDTH = 120
"""Columns where no terminal says how many there are."""
_EVERY = 5.0
_SHARE = 0.2
"""Looking takes at most this share of the time, however large the study."""


def main() -> int:
    """Print the state of a study, once or until its driver ends."""
    arguments = _parser().parse_args()
    look = _look_at(arguments.study)
    stream = EventStream(sys.stdout) if arguments.json else None
    console = PlainConsole() if sys.stdout.isatty() else PlainConsole(width=_WIDTH)
    if arguments.watch is None:
        _show(look(), console, stream)
        return 0
    with suppress(KeyboardInterrupt):  # the usual way to end it
        _watch(look, console, stream, arguments.watch)
    return 0


def _look_at(place: str) -> Callable[[], StudyState]:
    if not is_url(place):
        return partial(read_state, Path(place))
    from analysis.study_copies import fetch_study  # noqa: PLC0415 - for commands alone

    return partial(read_remote, open_store(place, patience=0), fetch_study)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m trainables.status", description=__doc__, allow_abbrev=False)
    parser.add_argument("study", type=nameable, metavar="STUDY", help="a study folder, or its URL")
    parser.add_argument(
        "--watch",
        type=number(0, allowed=False),
        nargs="?",
        const=_EVERY,
        metavar="SECONDS",
        help=f"look again so often, until the search ends (default: {_EVERY:g})",
    )
    parser.add_argument("--json", action="store_true", help="a line of JSON instead, for scripts")
    return parser


def _watch(
    look: Callable[[], StudyState], console: Console, stream: EventStream | None, seconds: float
) -> None:
    """Show a study again and again until nobody works on it; one that is about to begin is waited for."""
    in_place = stream is None and console.is_terminal
    began = time.monotonic()
    state = _awaited(look, seconds)
    with Live(console=console, auto_refresh=False) if in_place else nullcontext() as live:
        while True:
            if live:
                live.update(draw(state, (console.width, console.height - 1)), refresh=True)
            else:
                _show(state, console, stream)
            if not state.may_change:
                return
            time.sleep(max(seconds, (time.monotonic() - began) / _SHARE))
            began = time.monotonic()
            with (
                redirect_stderr(io.StringIO()) if live else nullcontext()
            ):  # a display in a display is a mess
                state = look()


def _awaited(look: Callable[[], StudyState], seconds: float) -> StudyState:
    """A study, once the search that is about to begin it has done so."""
    told = False
    while True:
        try:
            return look()
        except NotYetBegun as early:
            if not told:
                print(f"{early.happening}; waiting for it", file=sys.stderr)
            told = True
        time.sleep(seconds)


def _show(state: StudyState, console: Console, stream: EventStream | None) -> None:
    if stream:
        stream.say("status", plain(state))
    else:
        for part in draw(state).renderables:  # lines stay whole, so that commands can be copied
            console.print(Text(part.plain, part.style) if isinstance(part, Text) else part, soft_wrap=True)


def draw(state: StudyState, room: tuple[int, int] | None = None) -> Group:
    """A study's state, the driver below; ``room``: columns and lines that there is room for."""
    lines = _driver_lines(state)
    if room:
        room = (room[0], room[1] - sum(1 + len(line) // room[0] for line in lines))
    table = overview_table.draw(state.overview, room, at_work=state.may_change)
    return Group(*table.renderables, *map(overview_table.text_line, lines))


def plain(state: StudyState) -> dict[str, Any]:
    """A study's state as plain data."""
    driver = state.driver
    return {
        **as_plain(state.overview),
        "finished": state.is_finished,
        "driver": driver and {"host": driver.host, "process": driver.process, "at_work": driver.at_work},
        "seconds_since_written": state.written,
        "stopped_by": state.stopped_by or None,
        "damage": state.damage or state.lost or None,
        "command": (not state.lost and state.command) or None,
    }


def _driver_lines(state: StudyState) -> list[str]:
    """Whether somebody works on the study, and how to go on if nobody does."""
    lines = [state.lost] if state.lost else []
    if state.damage:
        lines.append("what stands before that is shown")
    if state.exhausted:
        lines.append("all configurations of the space have run, fewer than were asked for")
    if state.is_finished:
        return [*lines, _at_work(state.driver) if _works(state.driver) else f"finished; {_report(state)}"]
    lines.append(_driver_line(state))
    if state.stopped_by and not state.may_change:
        lines.append(f"the last trials all failed ({state.stopped_by}), which ends a search")
    if state.command and not state.lost and not _works(state.driver):
        lines.append(f"continue with: {state.command}")
    return lines


def _report(state: StudyState) -> str:
    page = Path(state.place) / "report.html"
    return (
        f"report: {page}"
        if page.is_file()
        else f"report: python -m analysis.report {shlex.quote(state.place)}"
    )


def _driver_line(state: StudyState) -> str:
    driver = state.driver
    if driver is None:
        return "no search is at work on it"
    if driver.at_work:
        return _at_work(driver)
    ago = "" if state.written is None else f"; written last {duration(state.written)} ago"
    if driver.at_work is None:
        return f"its search was started on another host, {driver.host} (process {driver.process}): look there whether it is at work{ago}"
    return f"no search is at work on it any more (the last was process {driver.process}){ago}"


def _works(driver: Driver | None) -> bool:
    return driver is not None and bool(driver.at_work)


def _at_work(driver: Driver | None) -> str:
    return f"a search is at work on it: process {driver.process} on host {driver.host}" if driver else ""


if __name__ == "__main__":
    sys.exit(run(main))
