"""What the source says of the leaves of a configuration, as plain text for people who write files."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from itertools import pairwise

from minbert.schema import Frozen


def field_notes(model: type[Frozen]) -> dict[str, str]:
    """The docstring under every field, by the field's name; of inherited fields, too."""
    notes: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if issubclass(owner, Frozen):
            notes |= _own_notes(owner)
    return notes


def model_note(model: type[Frozen]) -> str:
    """The docstring of a part of the configuration."""
    return plain(model.__doc__ or "")


def plain(text: str) -> str:
    """A docstring without its markup, in one line."""
    text = re.sub(r":\w+:`[~.]*([\w.]+)`", r"\1", text)
    return " ".join(text.replace("``", "").split())


def _own_notes(model: type[Frozen]) -> dict[str, str]:
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(tree, ast.ClassDef)
    return {
        field.target.id: plain(note.value.value)
        for field, note in pairwise(tree.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        and isinstance(note, ast.Expr) and isinstance(note.value, ast.Constant)
        and isinstance(note.value.value, str)
    }  # fmt: skip
