"""Ensembles from stored predictions: ``python -m analysis.ensemble STUDY --out DIR [--method NAME]``.

Each task has an ensemble of its own. Members' probabilities (or scores) are averaged;
they are chosen on the select half and quoted on the report half.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence

import pandas as pd
from rich.console import Console

from analysis.description import TaskInfo
from analysis.provenance import refuse_lost_journal
from analysis.quoted import left_out, told
from analysis.scoring import Outputs, stack
from analysis.selection import METHODS, ROUNDS, TOP
from analysis.study import Study, load
from analysis.submission import members_text, publish, refuse_used, submissions, with_test_rows
from analysis.task_ensemble import TaskEnsemble, choose_one, score_row
from analysis.terminal import print_table
from minbert.command_line import Parser, local_path, run
from minbert.errors import UserError
from minbert.terminal import PlainConsole, outlast_readers

POOL = 100
"""An ensemble is chosen from this many of the best complete trials; more would overfit the select half."""
MEASURES = (
    "members pool select report report_low report_high optimism optimism_low optimism_high "
    "single single_report gain_select gain gain_low gain_high"
)


def choose(
    predictions: Mapping[str, pd.DataFrame],
    tasks: Mapping[str, TaskInfo],
    method: str = "greedy",
    rounds: int = ROUNDS,
) -> dict[str, TaskEnsemble]:
    """Choose an ensemble for each task from its stored predictions (``Study.predictions``).

    ``method`` is one of :data:`analysis.selection.METHODS`. Tasks without labelled dev
    predictions are left out.
    """
    return _choose_all(_stacked(predictions), tasks, method, rounds)


def greedy(
    predictions: Mapping[str, pd.DataFrame], tasks: Mapping[str, TaskInfo], rounds: int = ROUNDS
) -> dict[str, TaskEnsemble]:
    """Choose by forward selection with replacement, see :func:`choose`."""
    return choose(predictions, tasks, "greedy", rounds)


def methods_table(predictions: Mapping[str, pd.DataFrame], tasks: Mapping[str, TaskInfo]) -> pd.DataFrame:
    """Every method's ensembles: one row a method and task, and ``score``; ``method`` and the columns of
    :func:`ensemble_table`."""
    stacked = _stacked(predictions)
    tables = [
        ensemble_table(_choose_all(stacked, tasks, name, ROUNDS), tasks).assign(method=name)
        for name in METHODS
    ]
    return pd.concat(tables, ignore_index=True)[["method", *tables[0].columns.drop("method")]]


def members_table(ensembles: Mapping[str, TaskEnsemble]) -> pd.DataFrame:
    """One row a member: task, number, weight."""
    rows = [
        (task, number, weight)
        for task, ensemble in ensembles.items()
        for number, weight in ensemble.members.items()
    ]
    return pd.DataFrame(rows, columns=["task", "number", "weight"])


def ensemble_table(ensembles: Mapping[str, TaskEnsemble], tasks: Mapping[str, TaskInfo]) -> pd.DataFrame:
    """One row a task, and ``score`` over all when every task has one: members, pool, select, report and
    optimism with their 95% intervals, single (best trial on the select half), single_report, gain_select and gain (over
    the single trial, on the select and on the report half), gain's 95% interval."""
    rows = [
        {
            "task": task,
            **{name: getattr(one, name) for name in MEASURES.split()},
            "members": len(one.members),
            "single": str(one.single),
        }
        for task, one in ensembles.items()
    ]
    if ensembles and len(ensembles) == len(tasks):
        rows.append(score_row(ensembles, tasks))
    return pd.DataFrame(rows, columns=["task", *MEASURES.split()])


def best_trials(study: Study) -> list[int]:
    """Numbers of the ``POOL`` best complete trials by score, best first."""
    trials = study.trials
    complete = trials[(trials["state"] == "complete") & trials["score"].notna()]
    numbers = complete.sort_values("score", ascending=False, kind="stable")["number"]
    return [int(number) for number in numbers.head(POOL)]


def candidates_left_out(study: Study, predictions: Mapping[str, pd.DataFrame], numbers: Sequence[int]) -> str:
    """Which of the trials ``numbers`` no ensemble can count, and why, by task; empty when all count.

    ``predictions``: their stored ones, by task.
    """
    reasons = {task: left_out(study, task, numbers, stack(frame)) for task, frame in predictions.items()}
    listed = "; ".join(f"for {task} {told(own)}" for task, own in reasons.items() if own)
    return f"left out (trials: reason): {listed}" if listed else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    Raises:
        UserError: the study or ``--out`` cannot be used, or there is nothing to choose from.
    """
    options = _parser().parse_args(arguments)
    refuse_used(options.out)
    study = load(options.study)
    refuse_lost_journal(study)
    outlast_readers("the files are written")
    console = PlainConsole(soft_wrap=True)
    predictions = _usable_predictions(study, console)
    table = methods_table(predictions, study.tasks)
    chosen = choose(predictions, study.tasks, options.method)
    members = {task: ensemble.members for task, ensemble in chosen.items()}
    files = {
        "members.yaml": members_text(study, options.method, members),
        "methods.csv": table.to_csv(index=False),
        **submissions(predictions, members, study.tasks),
    }
    publish(options.out, files)
    honest = all(ensemble.halves_differ for ensemble in chosen.values())
    title = (
        "Ensembles, chosen on select, quoted on report"
        if honest
        else "Ensembles, chosen and quoted on the same examples: optimistic"
    )
    print_table(console, title, show_methods(table, honest))
    for name in files:
        console.print(str(options.out / name), highlight=False, markup=False)
    return 0


def show_methods(table: pd.DataFrame, halves_differ: bool = True) -> pd.DataFrame:
    """:func:`methods_table` as text: metrics to three places; optimism and gains, with their 95% intervals, in points.

    How much better the choice looks than it is, is the gain on select minus the gain: optimism itself also says how much
    easier the select half is.
    """
    return pd.DataFrame(
        {
            "method": table["method"],
            "task": table["task"],
            "members": table["members"].astype(str),
            "select": [f"{value:.3f}" for value in table["select"]],
            "report": [f"{value:.3f}" for value in table["report"]],
            "95% of report": [
                f"{low:.3f} to {high:.3f}"
                for low, high in zip(table["report_low"], table["report_high"], strict=True)
            ],
            "optimism": [f"{100 * value:+.1f}" if halves_differ else "–" for value in table["optimism"]],
            "95% of optimism": [
                "–" if not halves_differ or math.isnan(low) else f"{100 * low:+.1f} to {100 * high:+.1f}"
                for low, high in zip(table["optimism_low"], table["optimism_high"], strict=True)
            ],
            "gain on select": [
                f"{100 * value:+.1f}" if halves_differ else "–" for value in table["gain_select"]
            ],
            "gain": [f"{100 * value:+.1f}" for value in table["gain"]],
            "95% of gain": [
                f"{100 * low:+.1f} to {100 * high:+.1f}"
                for low, high in zip(table["gain_low"], table["gain_high"], strict=True)
            ],
        }
    )


def _usable_predictions(study: Study, console: Console) -> dict[str, pd.DataFrame]:
    """The predictions of the best trials by task; says in a line which trials and tasks are left out."""
    numbers = best_trials(study)
    if not numbers:
        raise UserError(f"{study.path}: no trial is complete, so there is nothing to choose from")
    found: dict[str, pd.DataFrame] = {}
    for task in study.tasks:
        predictions, untested = with_test_rows(study.predictions(task, numbers))
        wanted = [number for number in numbers if number not in untested]
        reasons = dict.fromkeys(untested, "no test predictions")
        reasons |= left_out(study, task, wanted, stack(predictions))
        for reason in dict.fromkeys(reasons.values()):
            listed = ", ".join(str(number) for number, why in reasons.items() if why == reason)
            console.print(f"{task}: left out, as they have {reason}: {listed}", highlight=False)
        if len(predictions):
            found[task] = predictions
    for line in study.damage:
        console.print(f"warning: {line}", highlight=False, markup=False)
    if not _stacked(found):
        raise UserError(f"{study.path}: no complete trial has stored predictions for dev")
    return found


def _parser() -> Parser:
    parser = Parser(
        prog="python -m analysis.ensemble",
        description="Choose an ensemble for each task from a study's stored predictions and write its members, "
        "a comparison of all methods and the course's submission files.",
        allow_abbrev=False,
    )
    parser.add_argument("study", metavar="STUDY", help="the study folder, such as results/full_ablation")
    parser.add_argument("--out", metavar="DIR", type=local_path, required=True, help="a new or empty folder")
    parser.add_argument(
        "--method",
        default="greedy",
        choices=METHODS,
        help=f"best: the best trial of each task; top: the mean of the {TOP} best; greedy: forward selection with "
        "replacement; sorted: the same from the best trials on; bagged: the mean of many such (default: greedy)",
    )
    return parser


def _stacked(predictions: Mapping[str, pd.DataFrame]) -> dict[str, Outputs]:
    stacked = {task: stack(frame) for task, frame in predictions.items()}
    return {task: outputs for task, outputs in stacked.items() if outputs is not None}


def _choose_all(
    stacked: Mapping[str, Outputs], tasks: Mapping[str, TaskInfo], method: str, rounds: int
) -> dict[str, TaskEnsemble]:
    return {task: choose_one(tasks[task].kind, outputs, method, rounds) for task, outputs in stacked.items()}


if __name__ == "__main__":
    sys.exit(run(main))
