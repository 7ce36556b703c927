"""Which study a journal is of: it says so itself, as the study.yaml that lies beside it may be another one's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minbert.files.journalled import records

OF = "of"
"""The study's attribute in the journal that says it."""
_LEAVES = {
    **{name: (name,) for name in ("device", "precision", "threads")},
    "space": ("space_fingerprint",),
    "seed": ("seed",),
    "data": ("data", "fingerprint"),
    "encoder": ("encoder", "fingerprint"),
}
"""What tells studies apart, and where study.yaml has it."""


def owner(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What a journal says of the study that it is of; None for what study.yaml lacks."""
    return {name: _leaf(spec, keys) for name, keys in _LEAVES.items()}


def named_owner(journal: Path) -> Mapping[str, Any]:
    """What a journal says of the study that it is of; nothing in older ones.

    Raises:
        UserError: the journal cannot be read.
        minbert.files.journalled.Damaged: more of it than its last record is damaged.
    """
    attributes = (record.get("user_attr") for _, record in records(journal))
    found: Any = next((each[OF] for each in attributes if isinstance(each, dict) and OF in each), {})
    return found if isinstance(found, dict) else {}


def mismatch(spec: Mapping[str, Any], named: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """The first thing that study.yaml says otherwise than the journal: its name, and what the two say; what one lacks counts not."""
    here = owner(spec)
    differing = (
        (name, here[name], there) for name, there in named.items() if here.get(name) not in (None, "", there)
    )
    return next(differing, None)


def _leaf(spec: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    found: Any = spec
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found
