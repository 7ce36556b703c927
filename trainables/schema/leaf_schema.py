"""Schemas of a single leaf: its plain values, and the distributions that it may be drawn from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

_BOUNDS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")


def leaf_schema(part: Schema, note: str | None) -> Schema:
    """What pydantic says of a leaf, with its note; null, too, stands for the default.

    Bounds of a union (``ge``) and of a list that goes through a validator (``minLength``) are put where JSON Schema
    has them.
    """
    branches = [dict(each) for each in part.get("anyOf", [part])]
    kept = []
    for branch in branches:
        for key in ("title", "default", "anyOf", "ge"):
            branch.pop(key, None)
        if branch.get("type") == "array" and "minLength" in branch:
            branch["minItems"] = branch.pop("minLength")
        if "ge" in part:
            branch["minimum"] = part["ge"]
        if branch != {"type": "null"}:
            kept.append(branch)
    about = {"description": note} if note else {}
    default = {"default": part["default"]} if part.get("default") is not None else {}
    return {**about, **default, "anyOf": [*kept, {"type": "null"}]}


def distributions(leaf: Schema, plain: Schema, level: Schema) -> Schema:
    """A leaf that may be drawn: its plain values first, then a choice, then the ranges that it can have.

    Args:
        leaf: its schema.
        plain: a reference to it.
        level: of a level of a choice.
    """
    about: Schema = {key: leaf[key] for key in ("description", "default") if key in leaf}
    levels = {"type": "array", "minItems": 1, "uniqueItems": True, "items": level}
    choice = _distribution("choice", levels, "One of these levels.")
    return {**about, "anyOf": [plain, choice, *_ranges(leaf), *_mappings(leaf)]}


def _mappings(leaf: Schema) -> Iterator[Schema]:
    """Of a leaf that is a mapping, each value by itself."""
    for branch in leaf.get("anyOf", ()):
        if isinstance(branch.get("additionalProperties"), dict):
            value = branch["additionalProperties"]
            yield {**branch, "additionalProperties": distributions({"anyOf": [value]}, value, value)}


def _ranges(leaf: Schema) -> Iterator[Schema]:
    numbers = [each for each in leaf.get("anyOf", ()) if each.get("type") in ("integer", "number")]
    if not numbers:
        return
    bounds = {key: value for key, value in numbers[-1].items() if key in _BOUNDS}
    whole = all(each["type"] == "integer" for each in numbers)
    integer, number = {"type": "integer", **bounds}, {"type": "number", **bounds}
    step: Schema = {"description": "A whole number of steps leads from low to high.", "exclusiveMinimum": 0}
    yield _distribution("int", _ends(integer), "An integer, both ends included.", step | {"type": "integer"})
    about = "A number, both ends included; on a grid where there is a step."
    yield _distribution("uniform", _ends(number), about, step | {"type": "number"}, needed=whole)
    if not whole:
        above_zero = {"type": "number", **bounds}
        if bounds.get("minimum", 0) <= 0:
            above_zero = {**above_zero, "exclusiveMinimum": max(0, bounds.get("exclusiveMinimum", 0))}
        yield _distribution("log_uniform", _ends(above_zero), "A number whose logarithm is uniform.")


def _ends(number: Schema) -> Schema:
    return {"type": "array", "minItems": 2, "maxItems": 2, "uniqueItems": True, "items": number}


def _distribution(
    kind: str, values: Schema, note: str, step: Schema | None = None, needed: bool = False
) -> Schema:
    properties = {kind: {"description": note, **values}, "when": {"$ref": "#/$defs/when"}}
    if step is not None:
        properties["step"] = step
    required = [kind, "step"] if needed else [kind]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
