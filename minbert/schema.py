"""Base of every part of a configuration."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

STAND_IN = "stand_in"
"""Type of the errors about truth values for numbers and the reverse; their context has the leaf and its value."""


class Frozen(BaseModel):
    """Unknown keys are refused, values cannot change, true is no number and 1 not true."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    @model_validator(mode="before")
    @classmethod
    def _no_stand_ins(cls, data: Any) -> Any:
        known = _kinds_of_fields(cls)
        for name, value in data.items() if isinstance(data, Mapping) else ():
            for leaf, given, kinds in _values(name, value, known[name]) if name in known else ():
                if isinstance(given, bool) and bool not in kinds and kinds & {int, float}:
                    raise PydanticCustomError(STAND_IN, "a number is needed", {"leaf": leaf, "given": given})
                if kinds == {bool} and not isinstance(given, bool) and given is not None:
                    raise PydanticCustomError(
                        STAND_IN, "true or false is needed", {"leaf": leaf, "given": given}
                    )
        return data


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


@dataclass(frozen=True)
class _Admitted:
    """The types that a field admits, those of what it may hold, and whether it may be a mapping."""

    kinds: set[Any]
    inner: set[Any]
    mapping: bool


@functools.cache
def _kinds_of_fields(model: type[BaseModel]) -> dict[str, _Admitted]:
    found = {}
    for name, field in model.model_fields.items():
        kinds = _kinds(field.annotation)
        inner = {item for kind in kinds for item in _kinds_inside(kind)}
        found[name] = _Admitted(kinds, inner, any(get_origin(kind) is dict for kind in kinds))
    return found


def _values(path: str, value: Any, admitted: _Admitted) -> Iterator[tuple[str, Any, set[Any]]]:
    """A value, or those inside a list or mapping: path, value, and the types that its annotation admits."""
    if isinstance(value, list | tuple):
        yield from ((f"{path}.{at}", part, admitted.inner) for at, part in enumerate(value))
    elif admitted.mapping and isinstance(value, Mapping):
        yield from ((f"{path}.{key}", part, admitted.inner) for key, part in value.items())
    else:
        yield path, value, admitted.kinds


def _kinds(annotation: Any) -> set[Any]:
    """The types that an annotation admits, without None."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return {kind for argument in get_args(annotation) for kind in _kinds(argument)} - {type(None)}
    return {annotation}


def _kinds_inside(annotation: Any) -> set[Any]:
    """The types of what a tuple, list or mapping holds."""
    arguments = get_args(annotation)[-1:] if get_origin(annotation) is dict else get_args(annotation)
    return {kind for argument in arguments if argument is not Ellipsis for kind in _kinds(argument)}
