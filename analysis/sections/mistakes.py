"""The section of what the best trial gets wrong; texts are read, but none is quoted."""

from __future__ import annotations

import math
import shlex

import pandas as pd

from analysis import plots
from analysis.ensemble import best_trials
from analysis.error_groups import error_by_group, error_trends, mistakes_by_group
from analysis.errors import confusion, constant_predictors, example_features
from analysis.examples import encoder_folder, judged, read_texts, readable_examples
from analysis.number_text import probability
from analysis.sections.parts import Picture, Section, drawn
from analysis.study import Study
from analysis.wording import read_vocabulary
from minbert.errors import UserError

CONSTANT_SHOWN = 10
_COLUMNS = (
    "Error: value − label, above 0 where too high (value: the expected class, the probability of class 1, or "
    "the number). rho: Spearman's correlation of the error with what is counted; errors depend on the label, so "
    "p (Holm over a task) is of the correlation at equal labels."
)
"""What the columns of the table of trends say."""


def error_sections(study: Study) -> list[Section]:
    """Confusions and errors against length of the best trial, and trials that answered all alike."""
    numbers = best_trials(study)
    if not numbers:
        return []
    confusions = _confusions(study, numbers[0])
    trends, groups, missing = _texts(study, numbers[0])
    sections = []
    if confusions or len(trends) or missing:
        told = " ".join(text for text in (_COLUMNS if len(trends) else "", missing) if text)
        sections.append(
            Section(
                f"Errors of trial {numbers[0]}",
                f"The best trial, on all of dev; this describes mistakes and chooses nothing. {told}",
                trends if len(trends) else None,
                [*confusions, *groups],
                commands=[
                    (
                        "Its most wrong examples, further groups, members' agreement",
                        f"python -m analysis.errors {shlex.quote(str(study.path))}",
                    )
                ],
            )
        )
    return [*sections, *_constant(study)]


def _confusions(study: Study, number: int) -> list[Picture]:
    """Of every task with classes of which stored predictions exist."""
    pictures: list[Picture] = []
    for task, info in study.tasks.items():
        if info.kind != "classification":
            continue
        stored = study.predictions(task, [number])
        known = stored[(stored["split"] == "dev") & stored["label"].notna()]
        if len(known):
            counts = confusion(judged(known.reset_index(drop=True), info.kind), info.class_names)
            figure = plots.confusion_matrix(counts, f"{task}: labels and answers")
            caption = f"{task}: how many examples of each label (rows) got each answer, and their share of the label"
            pictures += drawn((f"confusion_{task}", caption, figure))
    return pictures


def _texts(study: Study, number: int) -> tuple[pd.DataFrame, list[Picture], str]:
    """Trends as text, pictures of errors by length, and why a task has neither: texts or predictions are gone."""
    try:
        corpus = read_texts(study, number)
        vocabulary = read_vocabulary(encoder_folder(study))
    except UserError as error:
        return pd.DataFrame(), [], f"Nothing can be said about texts. {error}."
    examples, missing = readable_examples(study, number, corpus)
    told = " ".join(f"{task} is left out: {reason}." for task, reason in missing.items())
    tables, errors, mistakes = [pd.DataFrame()], {}, {}
    for task, frame in examples.items():
        info = study.tasks[task]
        features = example_features(frame, info, corpus, task, vocabulary)
        if info.is_scale:
            errors[task] = error_by_group(frame, features)
            tables.append(_trends(task, error_trends(frame, features)))
        else:
            mistakes[task] = mistakes_by_group(frame, features)
    pictures = drawn(
        (
            "error_by_length",
            "Mean error (value − label) by characters of the text, with 95% intervals; to the right: too high",
            plots.signed_error(errors),
        ),
        (
            "mistakes_by_length",
            "Share of wrong answers by characters of the text, with 95% intervals, where classes are in no order",
            plots.share_of_mistakes(mistakes),
        ),
    )
    return pd.concat(tables, ignore_index=True), pictures, told


def _trends(task: str, trends: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "task": task,
            "error against": trends["feature"],
            "n": trends["n"].astype(str),
            "rho": [_signed(value) for value in trends["rho"]],
            "at equal labels": [_signed(value) for value in trends["rho_at_label"]],
            "p (Holm)": [probability(value) for value in trends["p_holm"]],
        }
    )


def _constant(study: Study) -> list[Section]:
    """Trials that gave every example of a task one answer in their last scored epoch or an earlier one."""
    found = constant_predictors(study.scored_epochs)
    if found.empty:
        return []
    note = (
        f"{len(found)} times a trial answered all of a task's dev examples alike after some epoch; those that still did at "
        "their end come first."
    )
    shown = found.sort_values("last", ascending=False, kind="stable").head(CONSTANT_SHOWN)
    table = pd.DataFrame(
        {
            "trial": shown["number"].astype(str),
            "task": shown["task"],
            "epochs": [
                f"{one} of {all_}" for one, all_ in zip(shown["epochs"], shown["scored"], strict=True)
            ],
            "at the end": ["yes" if last else "no" for last in shown["last"]],
        }
    )
    return [Section("One answer for everything", note, table)]


def _signed(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:+.2f}"
