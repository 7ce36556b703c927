"""The CS224N file layout: tab-separated files with csv quoting, recognised by their columns.

The course's files differ in small ways: an unnamed index column, one more leading column in
the SST test file, labels written as floats, test files without a label column. Everything is
therefore looked up by column name, and a file is recognised by the columns it has.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from minbert.config import TaskConfig
from minbert.errors import UserError, did_you_mean

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")

# Words in a file name that speak of a task, by its label column: all that tells an unlabelled
# paraphrase file from an unlabelled similarity file.
NAME_WORDS: Mapping[str, tuple[str, ...]] = {
    "sentiment": ("sst", "sentiment"),
    "is_duplicate": ("qqp", "quora", "para", "duplicate"),
    "similarity": ("sts", "similarity"),
}
INDEX_COLUMN = re.compile(r"|id|index|\d+|Unnamed: \d+")
PEEK_BYTES = 1 << 16
MAX_QUOTED_LINES = 50  # a quote that has not closed after so many lines is taken as a character


@dataclass(frozen=True)
class Table:
    """The rows of one file, each with the physical line it begins on."""

    path: Path
    columns: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]
    notes: tuple[str, ...]

    def column(self, name: str) -> int:
        """Return the position of a column.

        Raises:
            UserError: the header lacks the column or has it twice.
        """
        if self.columns.count(name) == 1:
            return self.columns.index(name)
        how_often = "twice" if name in self.columns else "not"
        hint = "" if name in self.columns else did_you_mean(name, filter(None, self.columns))
        raise UserError(
            f"{self.path}, line 1: column {name!r} is {how_often} in the tab-separated header "
            f"({shown_columns(self.columns)}){hint}"
        )


def read_table(path: Path) -> Table:
    """Read a tab-separated file with a header line.

    Raises:
        UserError: the file can't be read, is not UTF-8, is empty, or a line has too few or too many fields.
    """
    lines = read_utf8(path).split("\n")
    columns = _header(lines[0])
    if not any(columns):
        raise UserError(
            f"{path}: no header line; the file is {'empty' if len(lines) == 1 else 'blank at line 1'}"
        )
    rows, starts, literal = [], [], []
    for start, cells, as_it_stands in _records(lines, len(columns)):
        if len(cells) != len(columns):
            raise UserError(
                f"{path}, line {start}: {len(cells)} tab-separated field(s), "
                f"but the header has {len(columns)} ({shown_columns(columns)})"
            )
        rows.append(cells)
        starts.append(start)
        if as_it_stands:
            literal.append(start)
    notes = (counted(path, literal, "with unbalanced quotes", "read as they stand"),) if literal else ()
    return Table(path, columns, rows, starts, notes)


def peek_columns(path: Path) -> tuple[str, ...]:
    """Return the header cells of a file without reading the rest; bytes that are no text become U+FFFD.

    Raises:
        OSError: the file can't be read.
    """
    with path.open("rb") as file:
        start = file.read(PEEK_BYTES)
    return _header(re.split(r"\r?\n|\r", start.decode("utf-8-sig", errors="replace"), maxsplit=1)[0])


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
        return f"has no task's columns in a tab-separated header ({shown_columns(columns)})"
    if split_in_name(path.name) in ("train", "dev"):
        wanted = " or ".join(repr(tasks[name].label) for name in unlabelled)
        return f"has no label column {wanted}"
    if not any(speaks_of(path, name, tasks) for name in unlabelled):
        known = {tasks[name].label for name in unlabelled}
        for label, words in NAME_WORDS.items():
            if label not in known and _has_word(path, words):
                return f"has no label column, and its name speaks of {words[0]}, not of {' or '.join(unlabelled)}"
    return _the_one(unlabelled, path, tasks, "test")


def speaks_of(path: Path, name: str, tasks: Mapping[str, TaskConfig]) -> bool:
    """Whether a file name has a word that begins like the task's name or one it is known by."""
    return _has_word(path, (name.lower(), *NAME_WORDS.get(tasks[name].label, ())))


def split_in_name(name: str) -> Split | None:
    """Return the one split that a file name speaks of: by its words first, else anywhere in it."""
    words = _words(name)
    by_word = [split for split in SPLITS if any(word.startswith(split) for word in words)]
    found = by_word or [split for split in SPLITS if split in name.lower()]
    return found[0] if len(found) == 1 else None


def parse_label(text: str, task: TaskConfig) -> float:
    """Read a label: a class number (``1`` and ``1.0`` are the same) or, for regression, a number in the range.

    Raises:
        ValueError: the label is not allowed; the message says what is.
    """
    try:
        value = float(text.replace("_", "?"))  # float() would read 1_0 as 10
    except ValueError:
        value = math.nan
    if task.kind == "regression":
        fits = task.label_range[0] <= value <= task.label_range[1]
    else:
        fits = value.is_integer() and 0 <= value < class_count(task)
    if not fits:
        raise ValueError(f"{task.label} {text[:40]!r} is not {allowed_labels(task)}")
    return value + 0.0  # -0.0 becomes 0.0


def labels_fit(table: Table, task: TaskConfig, every_class: bool = False) -> bool:
    """Whether all labels of a table are allowed, and (if asked) each class is there."""
    at = table.column(task.label)
    try:
        found = {parse_label(text, task) for text in {row[at].strip() for row in table.rows} if text}
    except ValueError:
        return False
    return not every_class or task.kind == "regression" or len(found) == class_count(task)


def class_count(task: TaskConfig) -> int:
    """Number of classes of a classification or binary task."""
    return task.classes if task.kind == "classification" else 2


def allowed_labels(task: TaskConfig) -> str:
    """Say which labels a task allows."""
    if task.kind == "regression":
        return f"a number from {task.label_range[0]:g} to {task.label_range[1]:g}"
    return "0 or 1" if class_count(task) == 2 else f"an integer from 0 to {class_count(task) - 1}"


def shown_columns(columns: Iterable[str]) -> str:
    """The column names in one short line."""
    line = ", ".join(repr(column[:40]) for column in columns)
    return line if len(line) <= 160 else line[:157] + "..."


def counted(path: Path, lines: list[int], what: str, done: str) -> str:
    """A note about rows: file, how many, what they are, where the first is, what was done."""
    rows = "1 row" if len(lines) == 1 else f"{len(lines)} rows"
    return f"{path.name}: {rows} {what} (first at line {lines[0]}) {done}"


def read_utf8(path: Path) -> str:
    """A file's text with plain line ends.

    Raises:
        UserError: it can't be read or is not UTF-8; the message names the line.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    data = data.replace(b"\r\n", b"\n")
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        byte = error.object[error.start]
        raise UserError(
            f"{path}, line {line}: byte 0x{byte:02x} is not UTF-8 text; save the file as UTF-8"
        ) from None


def _header(line: str) -> tuple[str, ...]:
    return tuple(_unquoted(cell.strip()) for cell in line.split("\t"))


def _records(lines: list[str], width: int) -> Iterator[tuple[int, list[str], bool]]:
    """Yield (first line, cells, whether quotes were taken as characters) of every row after the header."""
    at = 1
    while at < len(lines):
        line = lines[at]
        if '"' in line:
            span, cells, as_it_stands = _quoted_record(lines, at, width)
            yield at + 1, cells, as_it_stands
            at += span
            continue
        if line and not line.isspace():
            yield at + 1, line.split("\t"), False
        at += 1


def _quoted_record(lines: list[str], at: int, width: int) -> tuple[int, list[str], bool]:
    """Read a row with quotes: (lines used, cells, whether its quotes do not pair up)."""
    line = lines[at]
    plain = line.split("\t")
    cells = _strict_csv(line)
    if cells is not None and (len(cells) == width or len(plain) != width):
        return 1, cells, False
    if cells is None:
        whole_lines = len(plain) == width
        for end in range(at + 1, min(at + MAX_QUOTED_LINES, len(lines))):
            whole_lines = whole_lines and lines[end].count("\t") + 1 == width
            if '"' not in lines[end]:
                continue
            cells = _strict_csv("\n".join(lines[at : end + 1]))
            # Lines that are each a whole row are rows with stray quotes, not one quoted text.
            if cells is not None and len(cells) == width and not whole_lines:
                return end - at + 1, cells, False
    return 1, [_unquoted(cell) for cell in plain], True


def _strict_csv(text: str) -> list[str] | None:
    """The cells of one row, or None where its quotes do not pair up."""
    try:
        rows = list(csv.reader([text], delimiter="\t", strict=True))
    except csv.Error:
        return None
    return rows[0] if len(rows) == 1 else None


def _unquoted(cell: str) -> str:
    if len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in cell[1:-1].replace('""', ""):
        return cell[1:-1].replace('""', '"')
    return cell


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
        names = [name for name in names if speaks_of(path, name, tasks)] or names
    if len(names) == 1:
        return names[0], split
    return f"may be of {' or '.join(names)}: neither its columns nor its name tell"


def _has_word(path: Path, beginnings: tuple[str, ...]) -> bool:
    return any(word.startswith(beginnings) for word in _words(path.name))


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]
