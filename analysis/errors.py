"""What a trial gets wrong: ``python -m analysis.errors STUDY [--trial N] [--data DIR]`` prints the tables.

Figures are of all of dev: they describe mistakes and choose nothing.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.description import TaskInfo
from analysis.ensemble import best_trials, candidates_left_out, greedy
from analysis.error_groups import (
    Feature,
    correlation,
    error_by_group,
    error_trends,
    mistakes_by_group,
    text_features,
)
from analysis.error_text import (
    show_agreement,
    show_confusion,
    show_forgetting,
    show_groups,
    show_mistakes,
    show_most_wrong,
    show_trends,
)
from analysis.examples import encoder_folder, read_texts, readable_examples
from analysis.provenance import refuse_lost_journal
from analysis.scoring import answers, stack
from analysis.study import Study, load
from analysis.terminal import print_table
from analysis.wording import Vocabulary, polarity_words, read_vocabulary
from minbert.command_line import Parser, local_path, run, whole_number
from minbert.corpora.reader import Corpus
from minbert.errors import UserError
from minbert.terminal import PlainConsole

__all__ = [
    "Feature",
    "agreement",
    "confusion",
    "constant_predictors",
    "error_by_group",
    "error_tables",
    "error_trends",
    "example_features",
    "forgetting",
    "main",
    "mistakes_by_group",
    "most_wrong",
    "text_features",
    "trial_to_read",
]

WORST = 5
CONSTANT_SHOWN = 20


def confusion(examples: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Counts (classes, classes) by label (rows) and predicted class (columns); ``names``: of the classes."""
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, (examples["label"].astype(int), examples["predicted"].astype(int)), 1)
    return pd.DataFrame(counts, pd.Index(names, name="label"), pd.Index(names, name="predicted"))


def most_wrong(examples: pd.DataFrame, count: int = 10) -> pd.DataFrame:
    """The ``count`` examples whose label the trial was furthest from, worst first; right answers never."""
    wrong = examples[examples["mistake"] > 0]
    return wrong.sort_values("doubt", ascending=False, kind="stable").head(count).reset_index(drop=True)


def constant_predictors(epochs: pd.DataFrame) -> pd.DataFrame:
    """Trials that answered all of dev alike after some scored epoch (``Study.scored_epochs``): number, task, epochs (how many were
    so), scored (how many were scored) and last (whether the last one was so)."""
    columns = ["number", "task", "epochs", "scored", "last"]
    if "constant" not in epochs:
        return pd.DataFrame(columns=columns)
    told = epochs[np.array([isinstance(value, list) for value in epochs["constant"]], bool)]
    rows = []
    for number, own in told.groupby("number", sort=True):
        lists = own["constant"].tolist()
        for task in sorted({task for one in lists for task in one}):
            times = sum(task in one for one in lists)
            rows.append((number, task, times, len(lists), task in lists[-1]))
    return pd.DataFrame(rows, columns=columns)


def forgetting(history: pd.DataFrame, tasks: Sequence[str], part: str = "report") -> pd.DataFrame:
    """Every task after every stage whose end was scored: number, stage, task, trained (in that stage),
    value (``part``'s metric after the stage's last epoch), change (since the scored stage before), and
    lost (below the best it had after an earlier stage; 0 where nothing was forgotten)."""
    columns = ["number", "stage", "task", "trained", "value", "change", "lost"]
    names = [f"{part}/{task}" for task in tasks]
    if history.empty or not set(names) <= set(history.columns):
        return pd.DataFrame(columns=columns)
    rows = []
    for number, own in history.groupby("number", sort=True):
        seen: dict[str, list[float]] = {task: [] for task in tasks}
        for stage in own["stage"].unique():
            epochs = own[own["stage"] == stage]
            ended = epochs[epochs[names].notna().all(axis=1)].tail(1)
            for task in tasks if len(ended) else ():
                value, earlier = float(ended[f"{part}/{task}"].item()), seen[task]
                change = value - earlier[-1] if earlier else math.nan
                lost = max(0.0, max(earlier) - value) if earlier else math.nan
                rows.append((number, stage, task, _trained(epochs, task), value, change, lost))
                earlier.append(value)
    return pd.DataFrame(rows, columns=columns)


def agreement(predictions: pd.DataFrame, kind: str) -> pd.DataFrame:
    """One row a pair of trials: first, second, agreement (share of equal answers, or Pearson's r of the
    numbers) and errors (correlation of their mistakes, which says how little averaging can gain).

    ``predictions``: of the trials to compare, for one task.
    """
    columns = ["first", "second", "agreement", "errors"]
    outputs = stack(predictions)
    if outputs is None:
        return pd.DataFrame(columns=columns)
    given = answers(kind, outputs.values)
    wrong = (given != outputs.labels).astype(np.float64)
    errors = given - outputs.labels if kind == "regression" else wrong
    rows = [
        (
            outputs.numbers[a],
            outputs.numbers[b],
            correlation(given[a], given[b]) if kind == "regression" else float(np.mean(given[a] == given[b])),
            correlation(errors[a], errors[b]),
        )
        for a, b in itertools.combinations(range(len(given)), 2)
    ]
    return pd.DataFrame(rows, columns=columns)


def trial_to_read(study: Study, wanted: int | None = None) -> int:
    """The number of the trial that is asked for, or of the best complete one.

    Raises:
        UserError: there is none.
    """
    if wanted is not None:
        if wanted not in set(study.trials["number"]):
            raise UserError(f"--trial {wanted}: {study.path} has {len(study.trials)} trials, counted from 0")
        return wanted
    numbers = best_trials(study)
    if not numbers:
        raise UserError(f"{study.path}: no trial is complete; name one with --trial")
    return numbers[0]


def example_features(
    examples: pd.DataFrame, info: TaskInfo, corpus: Corpus, task: str, vocabulary: Vocabulary | None
) -> list[Feature]:
    """What is counted in the texts of ``dev_examples``: length, overlap, unknown words, polarity words.

    Polarity words are learned from train, and only where classes of single sentences are in order.
    """
    texts = [examples[name].tolist() for name in examples if str(name).startswith("text_")]
    train = corpus.splits[task]["train"]
    graded = info.kind == "classification" and info.ordered and len(texts) == 1
    lexicon = polarity_words(train.texts[0], train.labels) if graded and train.labels is not None else None
    return text_features(texts, vocabulary, lexicon)


def error_tables(
    study: Study, number: int, corpus: Corpus, by_task: Mapping[str, pd.DataFrame]
) -> dict[str, pd.DataFrame]:
    """The tables of a trial's errors, by title, every cell a string; those without rows are left out.

    ``corpus``: the study's texts (:func:`analysis.examples.read_texts`); ``by_task``: the trial's dev examples of the
    tasks that can be read (:func:`analysis.examples.readable_examples`).
    """
    vocabulary = read_vocabulary(encoder_folder(study))
    shown: dict[str, pd.DataFrame] = {}
    for task, examples in by_task.items():
        info = study.tasks[task]
        features = example_features(examples, info, corpus, task, vocabulary)
        if info.kind != "regression":
            shown[f"{task}: labels (rows) and answers"] = show_confusion(
                confusion(examples, info.class_names)
            )
        shown[f"{task}: most wrong"] = show_most_wrong(most_wrong(examples, WORST), info)
        if not info.is_scale:
            groups = mistakes_by_group(examples, features)
            shown[f"{task}: share of mistakes by group"] = show_mistakes(groups)
            continue
        shown[f"{task}: error (value − label) by group"] = show_groups(error_by_group(examples, features))
        shown[f"{task}: what errors go along with"] = show_trends(error_trends(examples, features))
    part = "report" if f"report/{next(iter(study.tasks))}" in study.history else "dev"
    own = study.history[study.history["number"] == number]
    shown[f"{part} metrics after every stage (change in points; * = trained in it)"] = show_forgetting(
        forgetting(own, list(study.tasks), part)
    )
    constant = constant_predictors(study.scored_epochs)
    title = f"Runs and tasks with epochs that answered all examples alike ({len(constant)})"
    shown[title] = constant.head(CONSTANT_SHOWN).astype(str)
    pairs, without = _agreements(study)
    shown[f"Agreement between the members of the greedy ensemble{without}"] = show_agreement(pairs)
    return {title: frame for title, frame in shown.items() if len(frame)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    Raises:
        UserError: the study, the trial or the data folder cannot be used.
    """
    options = _parser().parse_args(arguments)
    study = load(options.study)
    refuse_lost_journal(study)
    number = trial_to_read(study, options.trial)
    corpus = read_texts(study, number, options.data)
    by_task, missing = readable_examples(study, number, corpus)
    if not by_task:
        raise UserError(next(iter(missing.values())))
    console = PlainConsole(soft_wrap=True)
    console.print(f"trial {number} of {study.path}, on all of dev", highlight=False, markup=False)
    for title, frame in error_tables(study, number, corpus, by_task).items():
        print_table(console, title, frame)
    for task, reason in missing.items():
        console.print(f"warning: {task} is left out: {reason}", highlight=False, markup=False)
    for line in study.damage:
        console.print(f"warning: {line}", highlight=False, markup=False)
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="python -m analysis.errors", description="Show what a trial gets wrong.", allow_abbrev=False
    )
    parser.add_argument("study", metavar="STUDY", help="the study folder, such as results/full_ablation")
    parser.add_argument("--trial", metavar="N", type=whole_number(0), help="its number (default: the best)")
    parser.add_argument(
        "--data",
        metavar="DIR",
        type=local_path,
        help="where the study's data are now (default: where they were)",
    )
    return parser


def _agreements(study: Study) -> tuple[pd.DataFrame, str]:
    """Of the members of each task's greedy ensemble, by task; and which trials were no candidates, for a title."""
    numbers = best_trials(study)
    predictions = {task: study.predictions(task, numbers) for task in study.tasks}
    tables = []
    for task, ensemble in greedy(predictions, study.tasks).items():
        frame = predictions[task]
        members = frame[frame["number"].isin(list(ensemble.members))]
        tables.append(agreement(members, study.tasks[task].kind).assign(task=task))
    without = candidates_left_out(study, predictions, numbers)
    return pd.concat(
        tables, ignore_index=True
    ) if tables else pd.DataFrame(), f" ({without})" if without else ""


def _trained(epochs: pd.DataFrame, task: str) -> bool:
    column = f"train_loss/{task}"
    return column in epochs and bool(epochs[column].notna().any())


if __name__ == "__main__":
    sys.exit(run(main))
