"""Which task and split a file is: recognised by its columns, its labels and its name; and what a label says.

The course's files differ in small ways: an unnamed index column, one more leading column in
the SST test file, labels written as floats, test files without a label column. Everything is
therefore looked up by column name, and a file is recognised by the columns it has.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from minbert.config import TaskConfig
from minbert.corpora.headers import in_semicolons
from minbert.corpora.tables import SEMICOLONS, Table, read_table, shown_columns

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")

# Words in a file name that speak of a task, by its label column: all that tells an unlabelled
# paraphrase file from an unlabelled similarity file.
NAME_WORDS: Mapping[str, tuple[str, ...]] = {
    "sentiment": ("sst", "sentiment"),
    "is_duplicate": ("qqp", "quora", "para", "duplicate"),
    "similarity": ("sts", "similarity"),
}
# The course's second film review set, which nothing but its name and its two classes tells from SST.
_OF_TWO_CLASSES = ("cfimdb",)
_IN_WORDS = "; the task's `labels` may say what the column has instead, in the order of the classes"
INDEX_COLUMN = re.compile(r"|id|index|\d+|Unnamed: \d+")


PLAINEST = 3
"""What :func:`speaks_of` says where a file's name has the task's."""


def recognise(
    path: Path, columns: tuple[str, ...], tasks: Mapping[str, TaskConfig]
) -> tuple[str, Split] | str:
    """Tell task and split of a file from its columns (and, where they do not decide, its name), or why not.

    Raises:
        UserError: the label values had to be looked at, and the file is not of the layout.
    """
    labelled = [name for name, task in tasks.items() if {*task.text, task.label} <= set(columns)]
    if labelled:
        split = split_in_name(path.name)
        if split is None:
            return f"has the columns of {labelled[0]}, but none of train, dev, test in its name"
        return _the_one(_fitting(path, labelled, tasks), path, tasks, split)
    unlabelled = [name for name, task in tasks.items() if _is_unlabelled(columns, task)]
    if not unlabelled:
        why = f": {SEMICOLONS}" if in_semicolons(columns) else ""
        header = f"has no task's columns in its header ({shown_columns(columns)}){why}"
        return header if any(columns) else "is empty or begins with a blank line"
    if split_in_name(path.name) in ("train", "dev"):
        wanted = " or ".join(repr(tasks[name].label) for name in unlabelled)
        return f"has no label column {wanted}"
    if not any(speaks_of(path, name, tasks) for name in unlabelled):
        known = {tasks[name].label for name in unlabelled}
        for label, words in NAME_WORDS.items():
            if label not in known and _has_word(path, words):
                return f"has no label column, and its name speaks of {words[0]}, not of {' or '.join(unlabelled)}"
    return _the_one(unlabelled, path, tasks, "test")


def speaks_of(path: Path, name: str, tasks: Mapping[str, TaskConfig]) -> int:
    """How plainly a file's name speaks of a task: 3 has the task's name, 2 has words that begin so,
    1 has a word that tasks with this label column are known by, 0 nothing of it."""
    file, task = "-".join(["", *_words(path.name), ""]), "-".join(_words(name))
    if f"-{task}-" in file:
        return PLAINEST
    if f"-{task}" in file:
        return 2
    return int(_has_word(path, NAME_WORDS.get(tasks[name].label, ())))


def too_few_classes(path: Path, name: str, tasks: Mapping[str, TaskConfig]) -> bool:
    """Whether a file is by its name of the course's two-class set, and the task has other classes and another name."""
    of_two = _has_word(path, _OF_TWO_CLASSES) and tasks[name].class_count != 2
    return of_two and speaks_of(path, name, tasks) != PLAINEST


def closeness(one: Path, other: Path) -> int:
    """How alike two files are called but for the split: 2 the same, 1 one of them has more words, 0 different."""
    words, others = _words_but_split(one), _words_but_split(other)
    return 2 if words == others else int(words < others or others < words)


def split_in_name(name: str) -> Split | None:
    """Return the one split that a file name speaks of: by its words first, else anywhere in it."""
    words = _words(name)
    by_word = [split for split in SPLITS if any(word.startswith(split) for word in words)]
    found = by_word or [split for split in SPLITS if split in name.lower()]
    return found[0] if len(found) == 1 else None


def parse_label(text: str, task: TaskConfig) -> float:
    """Read a label: a class by its name or number (``1`` and ``1.0`` are the same) or, for regression, a number
    in the range.

    Raises:
        ValueError: the label is not allowed; the message says what is.
    """
    if task.labels is not None:
        if text not in task.labels:
            raise ValueError(f"{task.label} {text[:40]!r} is not {allowed_labels(task)}")
        return float(task.labels.index(text))
    try:
        # float() would read 1_0 as 10, and digits of all scripts.
        value = float(text.replace("_", "?") if text.isascii() else "?")
    except ValueError:
        value = math.nan
    if task.kind == "regression":
        fits = task.label_range[0] <= value <= task.label_range[1]
    else:
        fits = value.is_integer() and 0 <= value < task.class_count
    if not fits:
        words = "" if task.kind == "regression" else _IN_WORDS
        raise ValueError(f"{task.label} {text[:40]!r} is not {allowed_labels(task)}{words}")
    return value + 0.0  # -0.0 becomes 0.0


def labels_fit(table: Table, task: TaskConfig, every_class: bool = False) -> bool:
    """Whether all labels of a table are allowed, and (if asked) each class is there."""
    at = table.column(task.label)
    try:
        found = {parse_label(text, task) for text in {row[at].strip() for row in table.rows} if text}
    except ValueError:
        return False
    return not every_class or task.kind == "regression" or len(found) == task.class_count


def label_misfit(table: Table, task: TaskConfig) -> str:
    """Why a table's labels are not a task's; empty where they are."""
    at = table.column(task.label)
    for text in sorted({row[at].strip() for row in table.rows} - {""}):
        try:
            parse_label(text, task)
        except ValueError as error:
            return str(error)
    return ""


def allowed_labels(task: TaskConfig) -> str:
    """Say which labels a task allows."""
    if task.kind == "regression":
        return f"a number from {task.label_range[0]:g} to {task.label_range[1]:g}"
    if task.labels is not None:
        return " or ".join(repr(label) for label in task.labels)
    return "0 or 1" if task.class_count == 2 else f"an integer from 0 to {task.class_count - 1}"


def _is_unlabelled(columns: tuple[str, ...], task: TaskConfig) -> bool:
    rest = set(columns) - set(task.text)
    return set(task.text) <= set(columns) and all(INDEX_COLUMN.fullmatch(column) for column in rest)


def _fitting(path: Path, names: list[str], tasks: Mapping[str, TaskConfig]) -> list[str]:
    """Of several tasks with the same columns, those whose labels the file's values are."""
    if len(names) == 1:
        return names
    table = read_table(path)
    return [name for name in names if labels_fit(table, tasks[name])] or names


def _the_one(
    names: list[str], path: Path, tasks: Mapping[str, TaskConfig], split: Split
) -> tuple[str, Split] | str:
    if len(names) > 1:
        plainest = max(speaks_of(path, name, tasks) for name in names)
        names = [name for name in names if speaks_of(path, name, tasks) == plainest]
    if len(names) == 1:
        return names[0], split
    return f"may be of {' or '.join(names)}: neither its columns nor its name tell"


def _has_word(path: Path, beginnings: tuple[str, ...]) -> bool:
    return any(word.startswith(beginnings) for word in _words(path.name))


def _words_but_split(path: Path) -> set[str]:
    words, split = _words(path.stem), split_in_name(path.name) or " "
    others = {word for word in words if not word.startswith(split)}
    return others if len(others) < len({*words}) else {word.replace(split, "") for word in words} - {""}


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]
