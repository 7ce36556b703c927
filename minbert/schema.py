"""Base of every part of a configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
        for name, value in data.items() if isinstance(data, Mapping) else ():
            annotation = cls.model_fields[name].annotation if name in cls.model_fields else None
            for leaf, given, kinds in _values(name, value, annotation):
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


def _values(path: str, value: Any, annotation: Any) -> Iterator[tuple[str, Any, set[Any]]]:
    """A value, or those inside a list or mapping: path, value, and the types that its annotation admits."""
    kinds = _kinds(annotation)
    inner = {item for kind in kinds for item in _kinds_inside(kind)}
    parts: Mapping[Any, Any] = {}
    if isinstance(value, Mapping) and any(get_origin(kind) is dict for kind in kinds):
        parts = value
    elif isinstance(value, list | tuple):
        parts = dict(enumerate(value))
    if parts:
        yield from ((f"{path}.{key}", part, inner) for key, part in parts.items())
    else:
        yield path, value, kinds


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
