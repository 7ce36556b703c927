"""Starts of a search that die: at a named failpoint, or after a while."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.trainables.commands import start_search
from tests.trainables.studies import wait_until_all_end

_HANG = 180


@dataclass
class Mortal:
    """A search, always started by the same command.

    Attributes:
        folder: where it is started.
        space: the space.
        options: of the command line.
        kills: starts that were killed so far.
    """

    folder: Path
    space: Path
    options: Sequence[str]
    kills: int = 0

    def run(self) -> str:
        """One start that nobody disturbs; what it printed."""
        process = self._start()
        output, errors = process.communicate(timeout=_HANG)
        assert (process.returncode, errors) == (0, ""), output
        wait_until_all_end(self.folder)
        return output

    def die_at(self, point: str) -> None:
        """One start whose driver is killed at a failpoint of its own or of a worker; that must be reached."""
        armed = self.folder / "failpoints"
        armed.mkdir(exist_ok=True)
        process = self._start(armed)
        (armed / f".{point}").write_text(str(process.pid))
        (armed / f".{point}").rename(armed / point)
        output, errors = process.communicate(timeout=_HANG)
        assert not (armed / point).exists(), f"{point} was not reached: {output}{errors}"
        assert process.returncode == -signal.SIGKILL, f"{point}: {output}{errors}"
        wait_until_all_end(self.folder)
        self.kills += 1

    def die_after(self, seconds: float) -> None:
        """One start whose driver is killed after so long; a study that was quicker is finished."""
        process = self._start()
        try:
            process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            self.kills += process.returncode == -signal.SIGKILL
        wait_until_all_end(self.folder)

    def _start(self, failpoints: Path | None = None) -> subprocess.Popen[str]:
        return start_search(self.folder, *self.options, space=self.space, failpoints=failpoints)
