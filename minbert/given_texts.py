"""Texts that a command line is given: as arguments, in a file, or on its standard input."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from minbert.config import TaskConfig
from minbert.corpora.headers import in_semicolons, meant, names_columns, names_texts
from minbert.corpora.tables import (
    SEMICOLONS,
    Table,
    one_column,
    peek_columns,
    read_table,
    read_utf8,
    shown_columns,
)
from minbert.errors import UserError, did_you_mean
from minbert.files.strangers import refuse_irregular

STDIN = Path("-")
"""In the place of a file: standard input."""
_STDIN = "standard input"
_SENTENCE = ("sentence",)
_TABLES = (".csv", ".tsv")
_Read = TypeVar("_Read")


@dataclass(frozen=True)
class Given:
    """Examples in the order they were given.

    Attributes:
        examples: their texts, one or two each.
        ids: their names, where a file has a column ``id``.
        lines: of the file, where each begins.
    """

    examples: list[tuple[str, ...]]
    ids: list[str] | None = None
    lines: Sequence[int] = ()


def read_arguments(texts: Sequence[str], task: TaskConfig) -> Given:
    """Examples that follow one another on the command line.

    Raises:
        UserError: a pair lacks its second sentence, or a text is empty or not UTF-8.
    """
    size = len(task.text)
    check_texts(texts)
    if len(texts) % size:
        given = (
            "1 sentence is no whole pair" if len(texts) == 1 else f"{len(texts)} sentences are no whole pairs"
        )
        raise UserError(f"{given}: give two for each example, in quotes")
    return Given([tuple(texts[at : at + size]) for at in range(0, len(texts), size)])


def read_file(file: Path | None, task: TaskConfig) -> Given:
    """Examples of a tab- or comma-separated file, or of standard input where ``file`` is None or :data:`STDIN`.

    Columns are found by a header line that names the task's text columns, in any order and among others. Without
    such a line a pair task takes the only two columns, and a sentence task a sentence a line. A first line that
    looks like a header of other names is refused.

    Raises:
        UserError: the file can't be read, its columns don't tell, or a text is empty.
    """
    return _read_given(file, task.text)


def read_sentences(file: Path | None) -> Given:
    """Sentences of a table's column ``sentence``, or a sentence a line, as :func:`read_file` takes them.

    Raises:
        UserError: as there.
    """
    return _read_given(file, _SENTENCE)


def check_texts(texts: Sequence[str]) -> None:
    """Refuse arguments that are no texts.

    Raises:
        UserError: one is empty or not UTF-8.
    """
    for number, text in enumerate(texts, 1):
        if not text.strip():
            raise UserError(f"sentence {number} is empty")
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise UserError(f"sentence {number} is not UTF-8 text")


def _read_given(file: Path | None, names: tuple[str, ...]) -> Given:
    if file is None or file == STDIN:
        return _from_stdin(lambda path: _read(path, names))
    refuse_irregular(file)
    return _read(file, names)


def _from_stdin(read: Callable[[Path], _Read]) -> _Read:
    """Read standard input whole: what reads files looks at them more than once."""
    if sys.stdin.isatty():
        print("reading from the terminal; end with Ctrl-D", file=sys.stderr)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "given"
        path.write_bytes(sys.stdin.buffer.read())
        try:
            return read(path)
        except UserError as error:
            raise UserError(str(error).replace(str(path), _STDIN)) from None


def _read(path: Path, names: tuple[str, ...]) -> Given:
    """Texts of the columns of these names, or of a file without a header."""
    try:
        columns = peek_columns(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    if set(names) <= set(columns):
        table = read_table(path)
        places = [table.column(name) for name in names]
        examples = _checked(table, places, names)
        ids = [row[columns.index("id")].strip() for row in table.rows] if "id" in columns else None
        return Given(examples, ids, table.lines)
    if len(names) == 1:
        if any(columns):
            _refuse_other_names(path, columns, names)
        lines = _whole_lines(path, names[0])
        return Given([(line,) for line in lines], lines=range(1, len(lines) + 1))
    if not any(columns):
        raise UserError(f"{path}: empty; a pair a line is read")
    if len(columns) != len(names):
        raise UserError(
            _going_on(
                _other_names(path, columns, names),
                "without a header, just the two columns of a pair are read",
            )
        )
    _refuse_other_names(path, columns, names)
    table = read_table(path)
    whole = Table(path, names, [list(table.columns), *table.rows], [1, *table.lines], ())
    return Given(_checked(whole, range(len(names)), names), lines=whole.lines)


def _refuse_other_names(path: Path, columns: tuple[str, ...], names: tuple[str, ...]) -> None:
    """Refuse a header that does not name the columns that are looked for: it is no example."""
    line, _, rest = read_utf8(path).partition("\n")
    pair = len(names) > 1
    cells = columns if pair else tuple(cell.strip(' "') for cell in re.split(r"[\t,;|]", line))
    below = [one for one in rest.split("\n") if one.strip()]
    if not (
        any(meant(name, cells) for name in names)
        or names_columns(line, columns, _rows(path, len(columns)), pair)
        or (len(cells) == 1 and names_texts(cells[0], below, path.suffix.lower() in _TABLES))
        or (len(cells) > 1 and below and in_semicolons(columns, below))
    ):
        return
    needed = " and ".join(map(repr, names))
    way_out = (
        f"rename {'them' if pair else 'it'}, or, where line 1 is {'a pair' if pair else 'a sentence'}, "
        f"put a header of just {needed} above it"
    )
    raise UserError(_going_on(_other_names(path, columns, names), way_out))


def _going_on(told: str, more: str) -> str:
    """A guess at what was meant ends with a question mark, after which a sentence begins."""
    return f"{told} {more[0].upper()}{more[1:]}" if told.endswith("?") else f"{told}; {more}"


def _other_names(path: Path, columns: tuple[str, ...], names: tuple[str, ...]) -> str:
    missing = next(name for name in names if name not in columns)
    hint = f"; {SEMICOLONS}" if in_semicolons(columns) else did_you_mean(missing, columns)
    return f"{path}, line 1: {missing!r} is not among the columns {shown_columns(columns)}{hint}"


def _rows(path: Path, width: int) -> list[list[str]] | None:
    """The rows below the first line, where each has as many cells as that."""
    try:
        return read_table(path).rows if width > 1 else None
    except UserError:
        return None


def _checked(table: Table, places: Sequence[int], names: Sequence[str]) -> list[tuple[str, ...]]:
    found = []
    for line, row in zip(table.lines, table.rows, strict=True):
        texts = tuple(row[place].strip() for place in places)
        for name, text in zip(names, texts, strict=True):
            if not text:
                raise UserError(f"{table.path}, line {line}: {name} is empty; every row needs its text")
        found.append(texts)
    if not found:
        raise UserError(f"{table.path}: no row after the header")
    return found


def _whole_lines(path: Path, name: str) -> list[str]:
    """A sentence a line, unless csv quotes of a file of that name go on over lines."""
    lines = _lines(path, f", or a table whose header has {name!r}")
    table = one_column(path, read_utf8(path)) if path.suffix.lower() == ".csv" else None
    broken = (
        []
        if table is None
        else [row for row in zip(table.lines, table.rows, strict=True) if "\n" in row[1][0]]
    )
    if broken:
        raise UserError(
            f"{path}, line {broken[0][0]}: quotes go on over lines, as in a table of one column, but no header has "
            f"{name!r}: put that above, or take the line break out"
        )
    return lines


def _lines(path: Path, otherwise: str = "") -> list[str]:
    lines = [line.strip() for line in read_utf8(path).rstrip().split("\n")]
    if lines == [""]:
        raise UserError(f"{path}: empty; a sentence a line is read")
    for number, line in enumerate(lines, 1):
        if not line:
            raise UserError(
                f"{path}, line {number}: empty; a sentence a line is read, without gaps: take the line out"
            )
        if "\t" in line:
            raise UserError(
                f"{path}, line {number}: has a tab, as tables have; a sentence a line is read{otherwise}"
            )
    return lines
