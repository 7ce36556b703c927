"""The runs of a listed study beside the numbers that their source reports.

A source's rows may be one run, a run with the configuration of another, or composite: each
task's score from another run. Averages are of the source's own kind, plain (mean of the
metrics) or overall (mean of the metrics mapped to [0, 1]), never mixed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.constant_answers import counted_constants
from analysis.description import TaskInfo
from analysis.listed_forms import RUN, paper_of, runs_of, trained_runs
from analysis.paper_setting import other_setting
from analysis.scoring import to_unit
from analysis.study import Study

PART = "dev"
"""What is compared: sources report on all of dev."""


def run_table(study: Study) -> pd.DataFrame:
    """Compare every listed run's measured scores with the reported ones.

    Returns one row a run, in their order: run, trained_as (the run whose trials are counted; None
    for a composite row), replicates (complete ones), reported/{task}, measured/{task} (mean over
    replicates, full dev), reported/{average}, measured/{average}, measured/{average}_sd (over
    replicates; NaN below two), constant (tasks that got one answer for every example in some
    replicate). {average} is ``plain`` or ``overall``, the source's own kind.

    Raises:
        UserError: what study.yaml says of the runs is damaged.
    """
    average = average_kind(study)
    runs = runs_of(study)
    scores = _scores(study)
    constant = _constant(study)
    rows = []
    for name, run in runs.items():
        sources = trained_runs(runs, name, list(study.tasks))
        measured = _measured(scores, sources, study.tasks)
        means = _averages(measured, study.tasks, average)
        rows.append(
            {
                "run": name,
                "trained_as": run.trained_as,
                "replicates": len(measured),
                **{f"reported/{told}": run.scores().get(told, np.nan) for told in [*study.tasks, average]},
                **{f"measured/{task}": _mean(measured[task]) for task in study.tasks},
                f"measured/{average}": _mean(means),
                f"measured/{average}_sd": means.std(ddof=1) if means.notna().sum() > 1 else np.nan,
                "constant": [task for task, source in sources.items() if (source, task) in constant],
            }
        )
    return pd.DataFrame(rows)


def is_listed(study: Study) -> bool:
    """Whether the study's configurations are listed runs."""
    return bool(study.meta.get("runs"))


def average_kind(study: Study) -> str:
    """``plain`` or ``overall``: which mean of the tasks the source of the runs reports."""
    return str(paper_of(study).get("average", "overall"))


def show_runs(study: Study) -> tuple[str, pd.DataFrame]:
    """The table as text, and its title: scores to three places, a dash where there is none."""
    table, average = run_table(study), average_kind(study)
    paper = paper_of(study)
    source = f"paper {paper.get('name')}" if paper else "the space"
    here = "here, not in the paper's setting" if paper and other_setting(study) else "here"
    columns = {"run": table["run"]}
    for name in (average, *study.tasks):  # the average first: a phone shows three or four columns
        columns |= {f"{part} {name}": table[f"{part}/{name}"].map(_text) for part in ("reported", "measured")}
    spread = table[f"measured/{average}_sd"].map(lambda sd: "" if np.isnan(sd) else f" ± {sd:.3f}")
    columns[f"measured {average}"] = columns[f"measured {average}"] + spread
    columns["runs"] = table["replicates"].astype(str)
    columns["constant?"] = table["constant"].map(", ".join)
    title = f"Runs, as {source} reports them and as measured {here} (full dev, {average} average, ± sd over replicates)"
    return title, pd.DataFrame(columns)


def show_readings(study: Study) -> pd.DataFrame:
    """What the space says beside the runs' scores, a line each: other reported scores, interpretations, notes."""
    lines = []
    for name, run in runs_of(study).items():
        for split in ("train", "test"):
            told = " ".join(f"{task} {_text(value)}" for task, value in run.scores(split).items())
            lines += [(name, f"reported on {split}", told)] if told else []
        for kind, texts in (("interpretation", run.interpretation), ("note", run.note)):
            lines += [(name, kind, text) for text in texts]
    return pd.DataFrame(lines, columns=["run", "what", "text"])


def _scores(study: Study) -> pd.DataFrame:
    """Complete trials: run, replicate and each task's metric on all of dev."""
    trials = study.trials
    complete = trials[trials["state"] == "complete"]
    frame = complete[[RUN, "replicate", *(f"{PART}/{task}" for task in study.tasks)]]
    return frame.rename(columns={f"{PART}/{task}": task for task in study.tasks})


def _constant(study: Study) -> set[tuple[str, str]]:
    """Runs and tasks with one answer for every example at the epoch that counts."""
    runs = study.trials.set_index("number")[RUN]
    return {(str(runs[number]), task) for number, tasks in counted_constants(study).items() for task in tasks}


def _measured(
    scores: pd.DataFrame, sources: Mapping[str, str], tasks: Mapping[str, TaskInfo]
) -> pd.DataFrame:
    """(replicates, tasks): a replicate of a composite row is made of that replicate of its members."""
    columns = {}
    for task in tasks:
        own = scores[scores[RUN] == sources.get(task)]
        columns[task] = own.groupby("replicate")[task].mean()
    frame = pd.DataFrame(columns, columns=list(tasks))
    return frame.dropna(how="all").sort_index()


def _averages(measured: pd.DataFrame, tasks: Mapping[str, TaskInfo], average: str) -> pd.Series:
    """A replicate's average; NaN where a task is missing."""
    if average == "plain":
        return measured.mean(axis=1, skipna=False)
    mapped = {task: to_unit(info.kind, measured[task].to_numpy(np.float64)) for task, info in tasks.items()}
    return pd.DataFrame(mapped, index=measured.index).mean(axis=1, skipna=False)


def _mean(values: pd.Series) -> float:
    return float(values.mean()) if values.notna().any() else np.nan


def _text(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"
