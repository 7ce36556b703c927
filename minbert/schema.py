"""Base of every part of a configuration."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Unknown keys are refused, values cannot change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


def refuse_unless(
    wanted: bool, settings: object, names: Mapping[str, object], reason: str, within: str = ""
) -> None:
    """Refuse leaves that were given a value where they have no effect.

    Args:
        wanted: whether they have an effect.
        settings: the part of the configuration that holds them, for its values.
        names: the leaves by name, with the value that means "not given".
        reason: what they need.
        within: path of that part, with a dot at its end, where the error would not tell.

    Raises:
        ValueError: one of them was given; the message names it, its value and the reason.
    """
    for name, absent in names.items():
        value = getattr(settings, name)
        if not wanted and value != absent:
            raise ValueError(f"{within}{name} {value!r} has no effect here: it needs {reason}")
