"""From the hub's files to those of the course: tab-separated tables with a header, as csv quotes them.

Texts keep their words; runs of white space become one blank. An id tells split and row of the hub's file. Test files go
without labels, as in the course.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pyarrow import parquet

from minbert.hub.catalogue import Entry, LayoutName

_QQP_ROWS, _QQP_DEV, _QQP_TEST = 404_276, 40_429, 80_859
"""GLUE's labelled pairs, and how many of them the course puts into dev and test."""
_NO_LABEL = -1
"""What GLUE writes for a label that it keeps to itself."""

Layout = Callable[[Sequence[Path], Sequence[Path]], list[str]]
"""Takes the hub's files and those to write, both in the catalogue's order; returns remarks for the user."""
Row = tuple[str, ...]


def lay_out(entry: Entry, sources: Sequence[Path], folder: Path) -> list[str]:
    """Write an entry's files into a folder.

    Args:
        entry: what they are.
        sources: the hub's files, in the order of ``entry.paths``.
        folder: where ``entry.writes`` go; it exists.

    Returns:
        Lines that say what was made, row counts first.

    Raises:
        ValueError, KeyError, TypeError, csv.Error: a source is not of the form that its repository documents.
        OSError: storage fails.
    """
    targets = [folder / name for name in entry.writes]
    for target in targets:
        target.parent.mkdir(exist_ok=True)
    return LAYOUTS[entry.layout](sources, targets)


def _sst(sources: Sequence[Path], targets: Sequence[Path]) -> list[str]:
    counts, lower = [], True
    for split, source, target in zip(("train", "dev", "test"), sources, targets, strict=True):
        rows = []
        with source.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                record = json.loads(line)
                rows.append((f"sst5-{split}-{number}", _one_line(record["text"]), str(int(record["label"]))))
        lower &= all(text == text.lower() for _, text, _ in rows)
        _write(target, ("id", "sentence", "sentiment"), rows, labelled=split != "test")
        counts.append(_counted(target, rows))
    case = ["all texts are in lower case, unlike the course's"] if lower else []
    return [*counts, *case, "SST-5's own splits; test goes without its labels"]


def _qqp(sources: Sequence[Path], targets: Sequence[Path]) -> list[str]:
    """The course's split sizes. Its own rows are not on the hub, so pairs are dealt out by a hash of their text."""
    rows: list[Row] = []
    for split, source in zip(("train", "validation"), sources, strict=True):
        for number, (one, two, label) in enumerate(_columns(source, "question1", "question2", "label")):
            rows.append((f"qqp-{split}-{number}", _one_line(one), _one_line(two), f"{int(label)}.0"))
    whole = [row for row in rows if row[1] and row[2]]
    dealt = sorted(whole, key=_pair_hash)
    dev, test = (round(len(whole) * part / _QQP_ROWS) for part in (_QQP_DEV, _QQP_TEST))
    splits = (dealt[dev + test :], dealt[:dev], dealt[dev : dev + test])
    for target, part in zip(targets, splits, strict=True):
        header = ("id", "sentence1", "sentence2", "is_duplicate")
        _write(target, header, part, labelled=part is not splits[2])
    counts = [_counted(target, part) for target, part in zip(targets, splits, strict=True)]
    return [
        *counts,
        "not the course's rows, which are not on the hub: GLUE's labelled pairs (train and validation) sorted by "
        "SHA-256 of their text; the first are dev, the next test, in the course's sizes, and the rest is train",
        *(
            [f"{len(rows) - len(whole)} pairs without a question are left out"]
            if len(rows) > len(whole)
            else []
        ),
    ]


def _sts(sources: Sequence[Path], targets: Sequence[Path]) -> list[str]:
    counts = []
    for split, source, target in zip(("train", "dev", "test"), sources, targets, strict=True):
        rows = []
        for number, (one, two, label) in enumerate(_columns(source, "sentence1", "sentence2", "label")):
            if split != "test" and label == _NO_LABEL:
                raise ValueError(f"row {number} of {source.name} has no label")
            rows.append((f"stsb-{split}-{number}", _one_line(one), _one_line(two), str(label)))
        _write(target, ("id", "sentence1", "sentence2", "similarity"), rows, labelled=split != "test")
        counts.append(_counted(target, rows))
    return [
        *counts,
        "STS-B's own splits; the course deals the same 8,628 pairs out anew (6,040, 863 and 1,725), so its dev is another",
    ]


def _triplets(sources: Sequence[Path], targets: Sequence[Path]) -> list[str]:
    names = ("sent0", "sent1", "hard_neg")
    with sources[0].open(encoding="utf-8", newline="") as file:
        read = [tuple(_one_line(record[name] or "") for name in names) for record in csv.DictReader(file)]
    rows = [row for row in read if all(row)]
    with targets[0].open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([names, *rows])
    empty = len(read) - len(rows)
    told = "1 row with an empty text is" if empty == 1 else f"{empty} rows with an empty text are"
    return [_counted(targets[0], rows), *([f"{told} left out"] if empty else [])]


def _as_is(sources: Sequence[Path], targets: Sequence[Path]) -> list[str]:
    for source, target in zip(sources, targets, strict=True):
        try:
            os.link(source, target)
        except OSError:  # no links between these two places
            shutil.copyfile(source, target)
    return ["as on the hub"]


LAYOUTS: dict[LayoutName, Layout] = {
    "sst": _sst,
    "qqp": _qqp,
    "sts": _sts,
    "triplets": _triplets,
    "as_is": _as_is,
}


def _columns(source: Path, *names: str) -> Iterable[tuple]:
    """The rows of some columns of a parquet file; numbers as numpy's, whose text is as short as their precision allows."""
    table = parquet.read_table(source, columns=list(names))
    missing = set(names) - set(table.column_names)
    if missing:
        raise KeyError(f"no column {sorted(missing)[0]!r} in {source.name}")
    *texts, label = names
    return zip(*(table[name].to_pylist() for name in texts), table[label].to_numpy(), strict=True)


def _pair_hash(row: Row) -> bytes:
    """Duplicates of a pair, in either order, fall together."""
    texts = sorted(text.lower() for text in row[1:3])
    return hashlib.sha256("\n".join(texts).encode()).digest()


def _write(target: Path, header: Row, rows: Sequence[Row], labelled: bool) -> None:
    width = len(header) - (not labelled)
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["", *header[:width]])
        writer.writerows([number, *row[:width]] for number, row in enumerate(rows))


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


def _counted(target: Path, rows: Sequence[Row]) -> str:
    return f"{target.name}: {len(rows):,} rows"
