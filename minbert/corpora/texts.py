"""Further text files of a data folder: sentences, and triplets of a sentence, its positive and a hard negative."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from minbert.config import TrainConfig, text_of
from minbert.corpora.tables import Table, counted, peek_columns, read_table, read_utf8, shown_columns
from minbert.errors import UserError, did_you_mean

Role = Literal["sentences", "triplets"]

TRIPLETS = ("sent0", "sent1", "hard_neg")
LABELLED_PAIRS = (("premise", "hypothesis", "label"), ("sentence1", "sentence2", "gold_label"))
_LABELS = {"entailment": 0, "neutral": 1, "contradiction": 2, "0": 0, "1": 1, "2": 2}
_NO_LABEL = ("", "-", "-1")


@dataclass(frozen=True)
class Text:
    """One text file.

    Attributes:
        columns: one tuple of n strings (sentences) or three (triplets: sentence, positive, hard negative).
        notes: what was skipped, one line each.
    """

    columns: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.columns[0])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (32 hex digits) of the strings: the file's name and layout do not enter."""
        return hashlib.sha256(json.dumps(self.columns).encode()).hexdigest()[:32]


def texts_needed(config: TrainConfig) -> dict[str, Role]:
    """Names of the texts that the running stages read, and what each holds.

    Raises:
        UserError: two stages take one file for different things.
    """
    needed: dict[str, Role] = {}
    for stage_name, stage in config.running_stages():
        name = text_of(stage)
        role: Role = "sentences" if stage.kind == "simcse" else "triplets"
        if name is not None and needed.setdefault(name, role) != role:
            raise UserError(
                f"stages.{stage_name} reads {name!r} as {role}, another stage as {needed[name]}: "
                "a file is one of them"
            )
    return needed


def read_text(folder: Path, name: str, role: Role, taken: Collection[Path] = ()) -> Text:
    """Read a text of a data folder.

    Args:
        folder: the data folder.
        name: ``sentences`` or ``triplets`` for the only such file there, else a file's name.
        role: what it holds.
        taken: files that a task reads; only their own names mean them.

    Raises:
        UserError: there is no such file or more than one, or it is not of its layout.
    """
    path = _only_one(folder, role, taken) if name == role else _named(folder, name, role)
    return read_sentences(path) if role == "sentences" else read_triplets(path)


def role_of(path: Path) -> Role | None:
    """What a file is by its name and header: a ``.txt`` without tabs, or a table of triplets or labelled pairs."""
    suffix = path.suffix.lower()
    hidden = path.name.startswith(".") or path.name.lower().startswith("readme")
    if hidden or suffix not in (".txt", ".csv", ".tsv") or not path.is_file():
        return None
    try:
        columns = peek_columns(path)
    except OSError:
        return None
    if _layout(columns):
        return "triplets"
    return "sentences" if suffix == ".txt" and len(columns) == 1 else None


def read_sentences(path: Path) -> Text:
    """Read a file with a sentence a line; blank lines are skipped.

    Raises:
        UserError: the file can't be read, is not UTF-8 or holds fewer than two sentences.
    """
    lines = map(str.strip, read_utf8(path).split("\n"))
    sentences = tuple(line for line in lines if line)
    if len(sentences) < 2:
        raise UserError(
            f"{path}: holds {len(sentences)} sentence(s); a sentence a line is read, at least two"
        )
    return Text((sentences,))


def read_triplets(path: Path) -> Text:
    """Read triplets, or make them from labelled pairs.

    A premise's k-th entailed hypothesis goes with its k-th contradicting one; where it has fewer
    of the one than of the other, the last of them stands again. Premises without both are left out.

    Raises:
        UserError: the file can't be read, has none of the layouts, or yields no triplet.
    """
    table = read_table(path)
    layout = _layout(table.columns)
    if layout is None:
        hints = (did_you_mean(column, table.columns) for column in TRIPLETS if column not in table.columns)
        raise UserError(
            f"{path}, line 1: the header is {shown_columns(table.columns)}; needed are the columns {_allowed()}"
            f"{next(filter(None, hints), '')}"
        )
    rows, notes = _whole_rows(table, layout)
    if layout != TRIPLETS:
        rows, remarks = _from_labelled(path, rows, layout[2])
        notes += remarks
    columns = tuple(zip(*(cells for _, cells in rows), strict=True))
    if not columns:
        raise UserError(f"{path}: holds no triplet" + "".join(f"; {note}" for note in notes))
    return Text(columns, (*table.notes, *notes))


_Row = tuple[int, tuple[str, ...]]
"""The line that a row begins on and its three cells."""


def _named(folder: Path, name: str, role: Role) -> Path:
    if name in ("", ".", "..") or "/" in name or "\\" in name or Path(name).is_absolute():
        raise UserError(
            f"{role} {name!r}: give the name of a file in the data folder {folder}, without a path"
        )
    path = folder / name
    if not path.is_file():
        names = [file.name for file in _files(folder)]
        fitting = ", ".join([repr(role), *(file.name for file in _files(folder) if role_of(file) == role)])
        raise UserError(
            f"{role} {name!r}: there is no such file in {folder}; allowed are {fitting}"
            f"{did_you_mean(name, [*names, role])}"
        )
    if role == "sentences" and role_of(path) != role:  # a table says itself what is wrong with its header
        raise UserError(f"{role} {name!r}: {path} is no .txt file with a sentence a line")
    return path


def _only_one(folder: Path, role: Role, taken: Collection[Path]) -> Path:
    found = [file for file in _files(folder) if file not in taken and role_of(file) == role]
    if len(found) == 1:
        return found[0]
    if found:
        listed = " and ".join(file.name for file in found[:3]) + (" …" if len(found) > 3 else "")
        raise UserError(f"{role!r}: {listed} in {folder} may all be meant; give one by its name")
    wanted = (
        "a .txt file with a sentence a line"
        if role == "sentences"
        else f"a .csv or .tsv file with the columns {_allowed()}"
    )
    raise UserError(f"{role!r}: there is no such file in {folder}; expected {wanted}")


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(file for file in folder.iterdir() if file.is_file())
    except OSError as error:
        raise UserError(f"data folder {folder}: {error.strerror or error}") from None


def _layout(columns: Iterable[str]) -> tuple[str, str, str] | None:
    """The three columns that a table is read by."""
    present = set(columns)
    return next((layout for layout in (TRIPLETS, *LABELLED_PAIRS) if present.issuperset(layout)), None)


def _allowed() -> str:
    return ", or ".join(", ".join(layout) for layout in (TRIPLETS, *LABELLED_PAIRS))


def _whole_rows(table: Table, layout: tuple[str, str, str]) -> tuple[list[_Row], list[str]]:
    """The three columns of rows that have both texts, or all three."""
    places = [table.column(name) for name in layout]
    texts = 3 if layout == TRIPLETS else 2
    rows: list[_Row] = []
    empty = []
    for line, row in zip(table.lines, table.rows, strict=True):
        cells = tuple([row[place].strip() for place in places])
        if all(cells[:texts]):
            rows.append((line, cells))
        else:
            empty.append(line)
    return rows, [counted(table.path, empty, "with an empty text", "skipped")] if empty else []


def _from_labelled(path: Path, rows: list[_Row], label: str) -> tuple[list[_Row], list[str]]:
    """Triplets from (premise, hypothesis, label) rows."""
    by_premise: dict[str, tuple[list[str], list[str], list[str]]] = {}
    unlabelled = []
    for line, (premise, hypothesis, value) in rows:
        kind = _label(path, line, label, value)
        if kind is None:
            unlabelled.append(line)
        else:
            by_premise.setdefault(premise, ([], [], []))[kind].append(hypothesis)
    notes = [counted(path, unlabelled, "without a label ('-')", "skipped")] if unlabelled else []
    incomplete = sum(not (entailed and opposed) for entailed, _, opposed in by_premise.values())
    if incomplete:
        notes.append(
            f"{path.name}: {incomplete} of {len(by_premise)} premises left out: "
            "they have no entailment or no contradiction"
        )
    return [(0, triplet) for triplet in _triplets(by_premise)], notes


def _triplets(
    by_premise: dict[str, tuple[list[str], list[str], list[str]]],
) -> Iterator[tuple[str, str, str]]:
    for premise, (entailed, _, opposed) in by_premise.items():
        if entailed and opposed:
            for k in range(max(len(entailed), len(opposed))):
                yield premise, entailed[min(k, len(entailed) - 1)], opposed[min(k, len(opposed) - 1)]


def _label(path: Path, line: int, column: str, value: str) -> int | None:
    name = value.lower().removesuffix(".0")
    if name in _NO_LABEL:
        return None
    if name not in _LABELS:
        raise UserError(
            f"{path}, line {line}: {column} {value[:40]!r} is none of entailment (0), neutral (1), "
            f"contradiction (2), or '-' for none{did_you_mean(name, _LABELS)}"
        )
    return _LABELS[name]
