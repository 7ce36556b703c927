"""Starts of a search that die, at named failpoints or at a random moment; and pieces of work that die at one failpoint after the other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import FrameType
from unittest.mock import patch

import psutil

from minbert.files import failpoints
from tests.trainables.commands import start_search
from tests.trainables.studies import processes_in, wait_until_all_end

ROOT = Path(__file__).parents[2]
OPTIONS = ("--set", "device=cpu", "--set", "precision=fp32")
_CARRIERS = ("minbert/files/", "minbert/remote/object_store.py")
_HANG = 600
_TRIES = 3
_SECONDS_BETWEEN_LOOKS = 0.02


@dataclass
class Mortal:
    """A search, always started by the same command.

    Attributes:
        folder: where it is started.
        space: the space.
        options: of the command line.
        kills: starts whose driver was killed so far.
        longest: seconds of the longest start that died at a failpoint: on this machine, beside what else runs here.
    """

    folder: Path
    space: Path
    options: Sequence[str]
    kills: int = 0
    longest: float = 0.0

    def run(self) -> str:
        """One start that nobody disturbs; what it printed."""
        for _ in range(_TRIES):
            process = self._start()
            output, errors = process.communicate(timeout=_HANG)
            if not without_ray(errors):
                break
        assert (process.returncode, errors) == (0, ""), output
        wait_until_all_end(self.folder)
        return output

    def die_at(self, *points: str) -> None:
        """One start in which a worker is killed at each failpoint but the last, and there the whole machine is lost.

        Args:
            points: in the order in which they must be reached; the last one may be the driver's own.
        """
        armed = self.folder / "failpoints"
        armed.mkdir(exist_ok=True)
        for _ in range(_TRIES):
            began = time.monotonic()
            process = self._start(armed)
            for point in points:
                arm(armed, point, *(process.pid,) * (point == points[-1]))
                wait_while((armed / point).exists, process)
            output, errors = process.communicate(timeout=_HANG)
            if not without_ray(errors):
                break
        self.longest = max(self.longest, time.monotonic() - began)
        missed = [point for point in points if (armed / point).exists()]
        assert not missed, f"{missed} were not reached: {output}{errors}"
        assert process.returncode == -signal.SIGKILL, f"{points}: {output}{errors}"
        end_all(self.folder)
        self.kills += 1

    def die_while_training(self, seconds: float) -> None:
        """One start whose driver alone is killed so long after a worker began; a study that was quicker is finished."""
        self.die_after(_HANG, seconds)

    def die_after(self, seconds: float, training: float = _HANG) -> None:
        """One start whose driver alone is killed, whatever it is about; a study that was quicker is finished.

        Args:
            seconds: after which it is, from its process's start.
            training: so long after a worker began it is, if that is earlier.
        """
        before, deadline = self._begun(), time.monotonic() + seconds
        process = self._start()
        wait_while(lambda: self._begun() == before and time.monotonic() < deadline, process)
        try:
            process.communicate(timeout=max(0, min(deadline - time.monotonic(), training)))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            self.kills += process.returncode == -signal.SIGKILL
        wait_until_all_end(self.folder)

    def _begun(self) -> int:
        """How often a trial was begun."""
        return len(list(self.folder.glob("results/*/trials/*/attempts/*")))

    def _start(self, failpoints: Path | None = None) -> subprocess.Popen[str]:
        return start_search(self.folder, *self.options, space=self.space, failpoints=failpoints)


def mortal(folder: Path, content: str, *options: str) -> Mortal:
    """A search of a space with this content."""
    folder.mkdir(exist_ok=True)
    space = folder / "space.yaml"
    space.write_text("description: A study that is killed\n" + content)
    return Mortal(folder, space, (*OPTIONS, *options))


def results(search: Mortal) -> Path:
    """The study's folder."""
    return search.folder / "results" / "space"


def wait_while(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait while something is so and a search runs; the bound only catches a hang."""
    deadline = time.monotonic() + _HANG
    while condition() and process.poll() is None:
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def without_ray(errors: str) -> bool:
    """Whether a start ended before it did anything, as the machine was too busy for Ray."""
    return "did not start in time" in errors or "Failed to register worker" in errors


def arm(folder: Path, point: str, *others: int) -> None:
    """Let the next process that comes by a failpoint die there, and the others with it."""
    (folder / f".{point}").write_text(" ".join(map(str, others)))
    (folder / f".{point}").rename(folder / point)


def end_all(folder: Path) -> None:
    """Kill what is left of a search in a folder, as a machine that is lost takes all of it along."""
    for process in processes_in(folder):
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    wait_until_all_end(folder)


@dataclass(frozen=True)
class Step:
    """A failpoint that somebody came by.

    Attributes:
        point: its name.
        by: file and function of whoever had something published or sent.
    """

    point: str
    by: str


def steps_of(work: Callable[[], object]) -> list[Step]:
    """Do something undisturbed; the failpoints that it comes by, in order."""
    passed: list[Step] = []
    with _told(lambda point: passed.append(Step(point, _caller()))):
        work()
    return passed


def dies_at_step(number: int, work: Callable[[], object]) -> bool:
    """Do something in a process that is killed at a failpoint: the first one that it comes by, or a later one.

    Args:
        number: of the failpoint, from 1.
        work: what is done.

    Returns:
        Whether there were so many.
    """
    child = os.fork()
    if not child:
        ended = 1
        try:
            left = count(number - 1, -1)

            def pass_by(point: str) -> None:
                if not next(left):
                    os.kill(os.getpid(), signal.SIGKILL)

            with _told(pass_by):
                work()
            ended = 0
        finally:
            os._exit(ended)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL), "it failed"
    return code == -signal.SIGKILL


@contextmanager
def _told(tell: Callable[[str], object]) -> Iterator[None]:
    """Tell of every failpoint that this process comes by."""
    with (
        patch.object(failpoints, "_ARMED", ""),
        patch.object(failpoints, "_die", lambda armed: tell(armed.name)),
    ):
        yield


def _caller() -> str:
    """The first one of the project who is on the way to a failpoint and does more than to publish, lock or send."""
    frame: FrameType | None = sys._getframe(1)
    while frame:
        file = Path(frame.f_code.co_filename)
        name = file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else ""
        if name.startswith(("minbert/", "trainables/")) and not name.startswith(_CARRIERS):
            return f"{name} {frame.f_code.co_qualname.partition('.<locals>')[0]}"
        frame = frame.f_back
    return "nobody"
