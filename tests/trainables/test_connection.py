"""How Ray is started; in processes of their own, as Ray leaves traces in the one that starts it."""

from __future__ import annotations

import os
import subprocess
import sys

START = "from trainables.machines.connection import start_ray; from minbert.command_line import run; run(lambda: start_ray(None))"


def test_a_scratch_folder_that_ray_cannot_use_is_named() -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", START],
        env=environment | {"RAY_TMPDIR": "/proc"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr.startswith("error: RAY_TMPDIR /proc: Ray cannot write there: "), done.stderr
    assert "; set RAY_TMPDIR to " in done.stderr
