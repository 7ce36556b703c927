"""Tables in text files: tab-separated as the course's are, or comma-separated; csv quoting in both.

The header line decides: commas separate where it has a comma and no tab, but not in a ``.txt``, whose lines may
be sentences. The course's tab-separated files hold stray quotes, which are read as they stand;
in a comma-separated file quotes must pair up, as nothing else tells a text's comma from a cell's end. A file of one
column whose quotes all pair up is read as csv reads it, line breaks included.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from minbert.corpora.headers import in_semicolons
from minbert.errors import UserError, did_you_mean
from minbert.files.storage import whole

PEEK_BYTES = 1 << 16
_FORMATS = {
    b"PK\x03\x04": "a spreadsheet (.xlsx, .ods) or another zip archive",
    b"\xd0\xcf\x11\xe0": "a spreadsheet of an old Excel",
    b"\x1f\x8b": "compressed with gzip",
    codecs.BOM_UTF16_LE: "text in UTF-16 or UTF-32",
    codecs.BOM_UTF16_BE: "text in UTF-16 or UTF-32",
}
"""What is taken for a table though it is none that is read here, by its first bytes."""
SEMICOLONS = "separated by semicolons; tabs or commas are read"
MAX_QUOTED_LINES = 50  # a quote that has not closed after so many lines is taken as a character


@dataclass(frozen=True)
class Table:
    """The rows of one file, each with the physical line it begins on."""

    path: Path
    columns: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]
    notes: tuple[str, ...]
    separated: Literal["tab", "comma"] = "tab"

    def column(self, name: str) -> int:
        """Return the position of a column.

        Raises:
            UserError: the header lacks the column or has it twice.
        """
        if self.columns.count(name) == 1:
            return self.columns.index(name)
        how_often = "twice" if name in self.columns else "not"
        hint = "" if name in self.columns else did_you_mean(name, filter(None, self.columns))
        if in_semicolons(self.columns):
            hint = f"; {SEMICOLONS}"
        raise UserError(
            f"{self.path}, line 1: column {name!r} is {how_often} in the {self.separated}-separated "
            f"header ({shown_columns(self.columns)}){hint}"
        )


def read_table(path: Path) -> Table:
    """Read a file with a header line.

    Raises:
        UserError: the file can't be read, is not UTF-8, is empty, or a line has too few or too many fields.
    """
    text = read_utf8(path)
    header, *rest = text.split("\n", 1)
    if not header.strip("\t ,"):
        raise UserError(f"{path}: no header line; the file is {'blank at line 1' if rest else 'empty'}")
    if _has_commas(path, header):
        return _comma_separated(path, text)
    alone = None if "\t" in header else one_column(path, text)
    return _tab_separated(path, text) if alone is None else alone


def one_column(path: Path, text: str) -> Table | None:
    """A file's text as a table of one column in csv quotes; None where it has several or its quotes do not pair up."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True)
    lines, rows, starts, start = text.split("\n"), list[list[str]](), list[int](), 1
    try:
        for cells in reader:
            if len(cells) > 1:
                return None
            if lines[start - 1].strip():
                rows.append(cells)
                starts.append(start)
            start = reader.line_num + 1
    except csv.Error:
        return None
    return Table(path, (rows[0][0].strip(),), rows[1:], starts[1:], ()) if rows else None


def peek_columns(path: Path) -> tuple[str, ...]:
    """Return the header cells of a file without reading the rest; bytes that are no text become U+FFFD.

    Raises:
        OSError: the file can't be read.
    """
    with path.open("rb") as file:
        start = file.read(PEEK_BYTES)
    header = re.split(r"\r?\n|\r", start.decode("utf-8-sig", errors="replace"), maxsplit=1)[0]
    return _comma_cells(header) if _has_commas(path, header) else _tab_cells(header)


def other_format(start: bytes) -> str:
    """What a file that begins so is instead of a table, and what to do; empty of others."""
    found = next((what for beginning, what in _FORMATS.items() if start.startswith(beginning)), "")
    return found and f"is {found}; save it {'' if 'UTF' in found else 'as CSV '}in UTF-8"


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
        data = whole(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    if other := other_format(data):
        raise UserError(f"{path} {other}")
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


def _has_commas(path: Path, header: str) -> bool:
    """Whether commas separate the cells."""
    return "," in header and "\t" not in header and path.suffix.lower() != ".txt"


def _tab_separated(path: Path, text: str) -> Table:
    lines = text.split("\n")
    columns = _tab_cells(lines[0])
    rows, starts, literal = [], [], []
    for start, cells, as_it_stands in _records(lines, len(columns)):
        if len(cells) != len(columns):
            raise UserError(
                f"{path}, line {start}: {len(cells)} tab-separated field(s), "
                f"but line 1 has {len(columns)} ({shown_columns(columns)})"
            )
        rows.append(cells)
        starts.append(start)
        if as_it_stands:
            literal.append(start)
    notes = (counted(path, literal, "with unbalanced quotes", "read as they stand"),) if literal else ()
    return Table(path, columns, rows, starts, notes)


def _comma_separated(path: Path, text: str) -> Table:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    start = 1
    try:
        for cells in reader:
            if rows and cells and len(cells) != len(rows[0]):
                raise UserError(
                    f"{path}, line {start}: {len(cells)} comma-separated field(s), but line 1 has {len(rows[0])}; "
                    "a text with a comma needs double quotes around it"
                )
            if cells:
                rows.append(cells)
                lines.append(start)
            start = reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"{path}, line {start}: its quotes do not pair up ({error}); double a quote inside a quoted text"
        ) from None
    return Table(path, tuple(cell.strip() for cell in rows[0]), rows[1:], lines[1:], (), "comma")


def _comma_cells(line: str) -> tuple[str, ...]:
    try:
        return tuple(cell.strip() for cell in next(csv.reader([line]), []))
    except csv.Error:
        return ()


def _tab_cells(line: str) -> tuple[str, ...]:
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
