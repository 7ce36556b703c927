"""What a test asks of a study folder, and of the processes that work on it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil
from optuna.trial import FrozenTrial
from safetensors.torch import load_file

from analysis.journal import read_trials
from minbert import train
from minbert.command_line import run
from minbert.files.durable import read_json_lines
from minbert.history import LINE
from tests.trainables.commands import MARK

_TIMES = ("seconds", "peak_memory")
_CHANGING = ("cost_paid", "cost_alone", "attempts")


def wait_until(condition: Callable[[], Any], process: subprocess.Popen[str], seconds: float = 300) -> None:
    """Wait for what a running search is about to do; the bound only catches a hang."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def processes_in(folder: Path) -> list[psutil.Process]:
    """The search started in a folder, and all that Ray started for it."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_until_all_end(folder: Path, seconds: float = 180) -> None:
    """Wait until no process of a search in a folder is left; the bound only catches what stays for good."""
    deadline = time.monotonic() + seconds
    while left := processes_in(folder):
        assert time.monotonic() < deadline, f"these outlive the search: {left}"
        time.sleep(0.1)


def counted(study: Path) -> list[FrozenTrial]:
    """The trials that count, by number."""
    return [trial for trial in read_trials(study / "journal.log") if "config_id" in trial.user_attrs]


def state_names(study: Path) -> list[str]:
    return [trial.state.name for trial in counted(study)]


def attempts(trial: Path) -> list[dict[str, Any]]:
    """Who started a trial, in order."""
    return [json.loads(path.read_text()) for path in sorted(trial.glob("attempts/*")) if path.stat().st_size]


def history(trial: Path) -> list[dict[str, Any]]:
    """A trial's records without what a clock or the memory says; of a stage that may come from the store its place."""
    records = read_json_lines(trial / "history.jsonl")
    assert [record[LINE] for record in records] == [*range(1, len(records) + 1)]
    return [
        {
            key: value
            for key, value in record.items()
            if key != LINE and not any(time in key for time in _TIMES)
        }
        if record.get("final_stage")
        else {key: record[key] for key in ("stage", "epoch", "step")}
        for record in records
    ]


def weights(trial: Path) -> dict[str, str]:
    """Hashes of a trial's kept tensors."""
    return {
        f"{path.relative_to(trial)}/{name}": hashlib.sha256(tensor.numpy().tobytes()).hexdigest()
        for path in sorted(trial.glob("best/**/*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def predictions(trial: Path) -> dict[str, str]:
    """Hashes of a trial's predictions."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in trial.glob("predictions/*.parquet")
    }


def outcome(study: Path) -> dict[tuple[str, int], Any]:
    """All that must not depend on what happened on the way, by configuration and replicate."""
    found: dict[tuple[str, int], Any] = {}
    for trial in counted(study):
        name = (trial.user_attrs["config_id"], trial.user_attrs["replicate"])
        assert name not in found, f"{name} ran twice"
        folder = study / "trials" / f"{trial.number:05d}"
        attributes = {key: value for key, value in trial.user_attrs.items() if key not in _CHANGING}
        found[name] = {
            "params": trial.params,
            "state": trial.state.name,
            "value": trial.value,
            "by epoch": trial.intermediate_values,
            "attributes": attributes,
            "history": history(folder),
            "predictions": predictions(folder),
            "weights": weights(folder),
        }
    return found


def folder_of(study: Path, number: int) -> Path:
    """Of a trial."""
    return study / "trials" / f"{number:05d}"


def repeat(trial: Path, out: Path) -> Path:
    """Train a trial once more from its config.yaml, without Ray and undisturbed."""
    command = ["train", "--config", str(trial / "config.yaml"), "--out", str(out)]
    with patch.object(sys, "argv", command), redirect_stdout(StringIO()):
        assert run(train.main) == 0
    return out
