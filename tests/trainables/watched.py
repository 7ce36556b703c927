"""A search that somebody watches: the real ledger and files of trials that train nothing."""

from __future__ import annotations

import functools
import io
import time
from pathlib import Path
from typing import Any

import optuna
import yaml
from rich.console import Console

from minbert.config import Source
from minbert.files.durable import append_json
from minbert.now import Now, write_now
from tests.trainables.commands import SPACE
from trainables.designs.sampler import build_sampler
from trainables.spaces.space import Space, load_space
from trainables.studies.attempts import claim
from trainables.studies.journal import open_journal
from trainables.studies.ledger import Issue, Ledger, Outcome
from trainables.watching.progress import Outlets, Progress

TASKS = ["sst", "qqp", "sts"]
COMMAND = "python -m trainables.search --space small_ablation"
PINNED: dict[str, Any] = {
    "data": Source(path="d", fingerprint="a"),
    "encoder": Source(path="e", fingerprint="b"),
    "device": "cpu",
    "precision": "fp32",
    "threads": 1,
}


class Watched:
    """A study of so many trials in ``folder``, and a progress display that follows it.

    Attributes:
        output: what the display prints.
    """

    def __init__(
        self,
        folder: Path,
        trials: int = 6,
        outlets: Outlets | None = None,
        columns: int | None = None,
        rows: int = 24,
    ) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        space = _space().fix("search.trials", trials)
        spec = {"schema_version": 1, "name": "small", "tasks": {task: {} for task in TASKS}, "trials": trials}
        (folder / "study.yaml").write_text(yaml.safe_dump({**spec, "command": COMMAND}, sort_keys=False))
        study = optuna.create_study(
            storage=open_journal(folder), study_name="study", direction="maximize", load_if_exists=True
        )
        study.sampler = build_sampler(space, 0, len(study.trials))
        self.ledger = Ledger(study, space, PINNED, seed=0)
        self.output = io.StringIO()
        console = Console(
            file=self.output,
            force_terminal=columns is not None,
            width=columns or 200,
            height=rows,
            soft_wrap=True,
        )
        self.progress = Progress(self.ledger, folder, "small", TASKS, console, outlets or Outlets())

    def start(self) -> Issue:
        """Hand out a trial; its worker takes an attempt number and writes its configuration."""
        issue = self.ledger.next()
        assert issue is not None
        self.progress.issued(issue)
        (self.folder / "trials").mkdir(exist_ok=True)
        folder = self.trial(issue)
        claim(folder, "first")
        with (folder / "config.yaml").open("w") as file:
            plain = issue.config.model_dump(mode="json", exclude_none=True)
            yaml.dump(plain, file, Dumper=yaml.CSafeDumper)
        return issue

    def epoch(self, issue: Issue, epoch: int, score: float, **more: Any) -> dict[str, Any]:
        """A trial finishes an epoch of its last stage."""
        record = record_of(epoch, score, **more)
        append_json(self.trial(issue) / "history.jsonl", record)
        self.report(issue, record)
        return record

    def tell(self, issue: Issue, epoch: int, step: int, doing: str = "training", **more: Any) -> None:
        """A trial says where it stands in an epoch of eight steps of its last stage."""
        said = {"step_seconds": 2.0, "at": time.time() + 1, "attempt": 1, "stage": "finetune", **more}
        write_now(self.trial(issue), Now(epoch=epoch, doing=doing, step=step, steps=8, **said))

    def report(self, issue: Issue, record: dict[str, Any]) -> None:
        self.ledger.report(issue.number, record)
        self.progress.reported(issue, record)

    def end(self, issue: Issue, outcome: Outcome, cause: str = "", message: str = "") -> None:
        trial = self.ledger.finish(issue.number, outcome, cause, message)
        self.progress.ended(issue, trial)

    def trial(self, issue: Issue) -> Path:
        return self.folder / "trials" / f"{issue.number:05d}"


@functools.cache
def _space() -> Space:
    return load_space(str(SPACE))


def record_of(epoch: int, score: float, **more: Any) -> dict[str, Any]:
    """A history line of an evaluated epoch of ``finetune``."""
    select = {"sst": score - 0.1, "qqp": score, "sts": score + 0.1, "score": score}
    report = {name: value - 0.01 for name, value in select.items()}
    parts = {"select": select, "report": report, "dev": report}
    return {
        "stage": "finetune",
        "epoch": epoch,
        "train_loss": {"sst": 1.0 / epoch},
        "train_seconds": 2.0,
        "eval_seconds": 0.5,
        "constant": [],
        "final_stage": True,
        **parts,
        "chosen": {"epoch": epoch, "measures": {}, "constant": [], **parts},
        **more,
    }


def some_of_each(watched: Watched) -> Issue:
    """Two complete trials, one stopped early, one failed; returns a fifth that runs."""
    for score, taken in ((0.5, 0.0), (0.6, 12.0)):
        issue = watched.start()
        watched.epoch(issue, 1, score - 0.1, seconds_saved=taken)
        watched.epoch(issue, 2, score)
        watched.end(issue, "complete")
    stopped = watched.start()
    watched.epoch(stopped, 1, 0.2)
    watched.end(stopped, "pruned")
    watched.end(watched.start(), "failed", "nan", "the loss\nis no number")
    running = watched.start()
    watched.epoch(running, 1, 0.45, constant=["qqp"])
    return running
