"""Ways to run the search's command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from minbert.files.failpoints import VARIABLE

SMALL = [
    "--set", "stages.finetune.epochs=2", "--set", "stages.finetune.epoch_examples=160",
    "--set", "stages.simcse.epoch_examples=64", "--set", "search.startup_trials=2",
]  # fmt: skip

SPACE = Path(__file__).with_name("small_ablation.yaml")

MARK = "SEARCHED_IN"
"""Environment variable that a search and all its processes carry: the folder it was started in."""

CommandLine = Callable[..., tuple[int, str]]


def start_search(
    folder: Path,
    *arguments: str,
    space: str | Path = SPACE,
    failpoints: Path | None = None,
    within: Sequence[str] = (),
) -> subprocess.Popen[str]:
    """Start the search in a process of its own, in ``folder``; it dies at what is armed in ``failpoints``.

    ``within``: a command that runs it elsewhere, in a namespace.
    """
    command = [*within, sys.executable, "-m", "trainables.search", "--space", str(space), *arguments]
    hidden = ("MINBERT_", "RAY_")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
    environment[MARK] = str(folder)
    if failpoints is not None:
        environment[VARIABLE] = str(failpoints)
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
