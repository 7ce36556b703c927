"""Read a data folder: check every line of each task's files, tell what was skipped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from minbert.config import TaskConfig
from minbert.corpora.cs224n import Split, parse_label
from minbert.corpora.file_choice import find_files
from minbert.corpora.tables import Table, counted, read_table
from minbert.corpora.texts import Role, Text, read_text
from minbert.errors import UserError


@dataclass(frozen=True)
class Examples:
    """One split of one task: n examples in file order."""

    ids: tuple[str, ...]
    """One an example; where the file has none, ``<split>-<row>`` with rows from 0."""
    texts: tuple[tuple[str, ...], ...]
    """One tuple of n texts per text column."""
    labels: np.ndarray | None
    """float64 ``(n,)``; None for an unlabelled split."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Corpus:
    """What a data folder holds for the tasks of a configuration."""

    path: Path
    fingerprint: str
    """SHA-256 (32 hex digits) of the parsed content: file names and layout do not enter."""
    splits: dict[str, dict[str, Examples]]
    """Task -> split -> examples; train and dev are always there."""
    notes: tuple[str, ...]
    """What was ignored, skipped or made up, one line each."""
    overlap: dict[str, dict[str, int]]
    """Task -> dev or test -> number of its examples whose text also stands in train."""
    texts: dict[str, Text] = field(default_factory=dict)
    """Further text files by the name that stages use; they do not enter the fingerprint."""


def read_corpus(
    path: Path, tasks: Mapping[str, TaskConfig], texts: Mapping[str, Role] | None = None
) -> Corpus:
    """Read all splits of all tasks from the files of a folder.

    Args:
        path: the folder.
        tasks: the tasks to read.
        texts: further text files that stages need, and what each holds.

    Raises:
        UserError: the folder or a needed file is missing, two files claim one split, or a file
            is not of the layout; the message names the file and the line.
    """
    notes: list[str] = []
    files = find_files(path, tasks, notes)
    splits: dict[str, dict[str, Examples]] = {}
    for (name, split), file in files.items():
        examples, remarks = _read_examples(read_table(file), tasks[name], split)
        notes += remarks
        if len(examples):
            splits.setdefault(name, {})[split] = examples
        elif split != "test":
            raise UserError(f"{file}: no usable example for the {split} split of task {name!r}")
        else:
            notes.append(f"{file.name}: no usable example, {name} goes without a test split")
    further = {name: read_text(path, name, role, files.values()) for name, role in (texts or {}).items()}
    notes += [note for text in further.values() for note in text.notes]
    return Corpus(path, _fingerprint(splits), splits, tuple(notes), _overlap(splits), further)


def text_keys(examples: Examples) -> list[str]:
    """Each example's text in lower case with whitespace collapsed; a pair's order does not matter."""
    columns = [[" ".join(text.lower().split()) for text in column] for column in examples.texts]
    return ["\n".join(sorted(row)) for row in zip(*columns, strict=True)]


def _read_examples(table: Table, task: TaskConfig, split: Split) -> tuple[Examples, list[str]]:
    """Turn a table into examples; rows without a text or a label are skipped and noted."""
    text_at = [table.column(name) for name in task.text]
    label_at = _label_column(table, task, split)
    id_at = table.columns.index("id") if "id" in table.columns else None
    ids: list[str] = []
    rows: list[list[str]] = []
    labels: list[float] = []
    known: dict[str, float] = {}
    skipped: dict[str, list[int]] = {}
    made_ids: list[int] = []
    for number, (row, line) in enumerate(zip(table.rows, table.lines, strict=True)):
        texts = [row[at].strip() for at in text_at]
        label = "" if label_at is None else row[label_at].strip()
        missing = [name for name, text in zip(task.text, texts, strict=True) if not text]
        missing += ["a label"] if label_at is not None and not label else []
        if missing:
            skipped.setdefault(" and ".join(missing), []).append(line)
            continue
        if label_at is not None:
            if label not in known:
                known[label] = _label(label, task, table.path, line)
            labels.append(known[label])
        identity = "" if id_at is None else row[id_at].strip()
        if not identity:
            made_ids.append(line)
        ids.append(identity or f"{split}-{number}")
        rows.append(texts)
    notes = [*table.notes]
    notes += [counted(table.path, lines, f"without {what}", "skipped") for what, lines in skipped.items()]
    if made_ids:
        notes.append(counted(table.path, made_ids, "without an id", f"called {split}-<row>"))
    columns = tuple(zip(*rows, strict=True)) if rows else tuple(() for _ in text_at)
    return Examples(
        tuple(ids), columns, None if label_at is None else np.array(labels, dtype=np.float64)
    ), notes


def _label_column(table: Table, task: TaskConfig, split: Split) -> int | None:
    """Where the labels are; None for a test file without any."""
    if split == "test" and task.label not in table.columns:
        return None
    at = table.column(task.label)
    if split == "test" and not any(row[at].strip() for row in table.rows):
        return None
    return at


def _label(text: str, task: TaskConfig, path: Path, line: int) -> float:
    try:
        return parse_label(text, task)
    except ValueError as error:
        raise UserError(f"{path}, line {line}: {error}") from None


def _fingerprint(splits: Mapping[str, Mapping[str, Examples]]) -> str:
    digest = hashlib.sha256()
    for name, split in sorted((task, split) for task, by_split in splits.items() for split in by_split):
        examples = splits[name][split]
        labels = None if examples.labels is None else examples.labels.tolist()
        digest.update(json.dumps([name, split, examples.ids, examples.texts, labels]).encode())
    return digest.hexdigest()[:32]


def _overlap(splits: Mapping[str, Mapping[str, Examples]]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for name, by_split in splits.items():
        train = set(text_keys(by_split["train"]))
        counts[name] = {
            split: sum(key in train for key in text_keys(examples))
            for split, examples in by_split.items()
            if split != "train"
        }
    return counts
