"""Whether the first line of a table names columns, where none of them has the name that is looked for.

Nothing in a file says so; what is taken for a header is refused, as its answer would shift all others by a row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

_NAME = re.compile(r"[^\W\d][\w.:/()#-]*( [\w.:/()#-]+){0,2}")
_NUMBER = re.compile(r"(?<=\w)[\W_]*\d+$|(?<=\w)[\W_]+[abAB]$|(?<=[a-z])[AB]$")
_ALIKE, _NEARLY_ALL = 0.8, 0.9
_OF_TEXTS = frozenset(
    [
        "text",
        "sentence",
        "review",
        "comment",
        "content",
        "tweet",
        "message",
        "post",
        "title",
        "headline",
        "question",
        "query",
        "utterance",
        "document",
        "body",
        "description",
        "phrase",
        "input",
        "premise",
        "hypothesis",
        "passage",
        "article",
        "caption",
        "summary",
        "reviewtext",
    ]
)
"""What a lone column of texts is usually called, in small letters and without what joins words."""


def names_columns(
    line: str, cells: Sequence[str], rows: Sequence[Sequence[str]] | None, of_a_pair: bool
) -> bool:
    """Whether cells of a first line are names of columns and no texts.

    Args:
        line: as it stands.
        cells: of the line; the first one is empty where rows are numbered.
        rows: the others of the file; None where they have not as many cells each.
        of_a_pair: whether each line without a header is a pair of texts; else a text, commas included.
    """
    if len(set(cells)) < max(2, len(cells)) or not _are_names(cells):
        return False
    words = not any(" " in cell for cell in cells)
    if of_a_pair:
        return _are_numbered(cells) or (words and _are_longer(rows, cells))
    if ", " in line or " ," in line:  # as in sentences
        return rows is not None and _some_numbers(rows)
    return words or "\t" in line or rows is not None


def names_texts(cell: str, below: Sequence[str], of_a_table: bool) -> bool:
    """Whether a first line of one cell is the usual name of a column of texts, in the singular or plural.

    Args:
        cell: the line.
        below: the other lines of the file.
        of_a_table: whether the file's name says that it is one; else such a word may head a list of words.
    """
    named = bool(_NAME.fullmatch(cell)) and {_letters(cell), _letters(cell).removesuffix("s")} & _OF_TEXTS
    return bool(named) and (of_a_table or _are_longer([below], [cell]))


def in_semicolons(columns: Sequence[str], below: Sequence[str] = ()) -> bool:
    """Whether what was read as one column are names with semicolons between, as there are in all lines below."""
    names = [name.strip(' "') for name in columns[0].split(";")] if len(columns) == 1 else []
    return len(names) > 1 and _are_names(names) and all(";" in line for line in below)


def meant(name: str, cells: Sequence[str]) -> bool:
    """Whether a cell is the name in other letters, such as capitals, or, among other names, nearly so."""
    near = 1 - 1e-9 if not _are_names(cells) else _ALIKE
    letters = [_letters(cell) for cell in cells if _NAME.fullmatch(cell)]
    return any(SequenceMatcher(None, _letters(name), cell).ratio() >= near for cell in letters)


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name).casefold()


def _are_names(cells: Sequence[str]) -> bool:
    """Whether all are short; the first one may be empty, above the numbers of rows."""
    named = cells[1:] if len(cells) > 1 and not cells[0] else cells
    return all(_NAME.fullmatch(cell) for cell in named)


def _are_numbered(cells: Sequence[str]) -> bool:
    """Whether they are one name with different numbers, such as text1 and text2, or text_a and text_b."""
    return len({_NUMBER.sub("", cell) for cell in cells}) == 1 and all(map(_NUMBER.search, cells))


def _are_longer(rows: Sequence[Sequence[str]] | None, cells: Sequence[str]) -> bool:
    """Whether nearly all texts below words of more than a letter have several words."""
    texts = [cell.strip() for row in rows or () for cell in row]
    long = sum(" " in text for text in texts)
    return bool(texts) and long >= _NEARLY_ALL * len(texts) and min(map(len, cells)) > 1


def _some_numbers(rows: Sequence[Sequence[str]]) -> bool:
    """Whether a column holds nothing but numbers."""
    columns = list(zip(*rows, strict=True))
    return any(all(re.fullmatch(r"\s*-?[\d.]+\s*", cell) for cell in column) for column in columns)
