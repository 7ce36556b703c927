"""Configurations read from YAML, and the schema's refusals in one line that names place, value and remedy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pydantic

from minbert.config import TrainConfig, build_config
from minbert.errors import UserError, did_you_mean, nearest_first
from minbert.files.yaml_dialect import (
    Document,
    Located,
    dump_yaml,
    join,
    parse_value,
    read_record,
    read_yaml,
    sealed_yaml,
    shorten,
)
from minbert.misplaced import belongs

__all__ = [
    "Document",
    "Located",
    "Problem",
    "check_nulls",
    "config_error",
    "dump_yaml",
    "load_config",
    "parse_value",
    "problems",
    "read_record",
    "read_yaml",
    "sealed_yaml",
    "shorten",
]
_NEAREST_SOUGHT = 20
"""The nearest allowed value is looked for in so many problems of a file; thousands would take seconds."""
_KEYS = "the keys here are"
_WANTED = {
    **dict.fromkeys(
        ("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "a whole number is needed"
    ),
    **dict.fromkeys(("float_type", "float_parsing", "finite_number"), "a number is needed"),
    **dict.fromkeys(("list_type", "tuple_type"), "a list is needed"),
    "bool_type": "true or false is needed",
    "bool_parsing": "true or false is needed",
    "string_type": "a text is needed",
}
"""Pydantic's refusals of a type, in the user's words."""
_OF_SPACES = {"search", "extends", "runs", "claims", "paper"}
"""Keys that only search spaces have."""


def load_config(path: Path) -> TrainConfig:
    """Read a YAML file with a partial configuration and lay it over the defaults.

    The record of a run, which holds every section, stands for itself: what a default has and it lacks was left out.

    Raises:
        UserError: as :func:`read_yaml`, or a key or value is not of the schema.
    """
    document = read_yaml(path)
    for key in _OF_SPACES & document.data.keys():
        raise UserError(
            f"{document.where(key)}: {key}: this is a search space, not the configuration of one run: "
            "give it to python -m trainables.search --space"
        )
    check_nulls(document, document.data)
    try:
        return (
            TrainConfig.model_validate(document.data) if _is_record(document) else build_config(document.data)
        )
    except pydantic.ValidationError as error:
        raise config_error(document, error) from None


def config_error(
    document: Located,
    error: pydantic.ValidationError,
    prefix: str = "",
    schema: type[pydantic.BaseModel] = TrainConfig,
) -> UserError:
    """Turn a refusal by the schema into one line: place, path, value, what is allowed, nearest match.

    `prefix` is where in the document the validated mapping stands.
    """
    found = problems(error, schema)
    first = found[0]
    path = join(prefix, first.path)
    text = first.text
    if first.unknown and not document.knows(path):
        path = path.rpartition(".")[0]
        text = (
            f"the default of this name has a key {first.unknown!r} that does not fit what is written here; "
            "use another name"
        )
    # Our own validators begin with the key that is wrong, which is a nearer place than its section.
    nearer = join(path, text.split(" ", 1)[0])
    settings = document.settings_named(path, text) if first.crossing else ""
    place = settings or document.where(nearer if document.knows(nearer) else path)
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return UserError(f"{place}: {path + ': ' if path else ''}{text}{more}")


@dataclass(frozen=True)
class Problem:
    """One refusal: the dotted path as the user writes it, and what is wrong there."""

    path: str
    text: str
    unknown: str = ""
    """The key, when it is not one of the schema."""
    crossing: bool = False
    """Whether every value is fine alone and only their combination is refused."""


def problems(
    error: pydantic.ValidationError, schema: type[pydantic.BaseModel] = TrainConfig
) -> list[Problem]:
    """List the refusals, one a path."""
    found: dict[str, Problem] = {}
    for entry in error.errors(include_url=False):
        problem = _problem(entry, schema, with_nearest=len(found) < _NEAREST_SOUGHT)
        earlier = found.get(problem.path)
        if earlier is None:
            found[problem.path] = problem
        elif problem.text not in earlier.text:  # the branches of a union, e.g. 'auto' or a number
            reason = problem.text.partition(" is not allowed: ")[2]
            found[problem.path] = Problem(problem.path, f"{earlier.text}; or: {reason}")
    return list(found.values())


def check_nulls(
    document: Located, partial: Mapping[str, Any], within: str = "", schema: Any = TrainConfig
) -> None:
    """Refuse unknown keys whose value is null, which laying over the defaults would pass over in silence.

    Raises:
        UserError: such a key.
    """
    for key, value in partial.items():
        path = join(within, key)
        models = _models(schema)
        if value is None and models and not any(key in model.model_fields for model in models):
            text = _unknown_key(path, {name for model in models for name in model.model_fields})
            raise UserError(f"{document.where(path)}: {path}: {text}")
        below = [_below(model, key)[0] for model in models] or [_below(schema, key)[0]]
        if isinstance(value, Mapping):
            check_nulls(document, value, path, next((each for each in below if each is not None), None))


def _is_record(document: Document) -> bool:
    """Whether a file is what a run wrote of its configuration."""
    pinned = isinstance(document.data.get("data"), Mapping) and document.data["data"].get("fingerprint")
    return bool(pinned) and document.data.keys() >= TrainConfig.model_fields.keys()


def _problem(entry: Any, schema: type[pydantic.BaseModel], with_nearest: bool) -> Problem:
    """Put one entry of pydantic's into the user's words."""
    shown: list[str] = []
    annotation: Any = schema
    enclosing: Any = schema
    for part in entry["loc"]:
        enclosing = annotation
        annotation, visible = _below(annotation, part)
        if visible:
            shown.append(str(part))
    path, unknown = ".".join(shown), ""
    value, context = entry["input"], entry.get("ctx", {})
    match entry["type"]:
        case "extra_forbidden":
            unknown = shown[-1]
            names = [name for model in _models(enclosing) for name in model.model_fields]
            text = _unknown_key(path if schema is TrainConfig else unknown, names, with_nearest)
        case "literal_error":
            text = _not_allowed(value, _quoted(context["expected"]))
        case "union_tag_invalid":
            path += ".kind"
            text = _not_allowed(context["tag"], _quoted(context["expected_tags"]))
        case "union_tag_not_found":
            kinds = " or ".join(str(_kind(model)) for model in _models(annotation))
            text = f"kind is missing: write kind: {kinds}"
        case "stand_in":
            path = join(path, context["leaf"])
            text = f"{shorten(context['given'])} is not allowed: {entry['msg']}"
        case "missing":
            text = "is missing"
        case "value_error":
            text = entry["msg"].removeprefix("Value error, ")
        case "dict_type" | "model_type" | "model_attributes_type":
            text = f"{shorten(value)} is not allowed: it must be a mapping"
        case kind:
            reason = _bound(context) or _WANTED.get(kind) or entry["msg"]
            text = f"{shorten(value)} is not allowed: {reason}"
    return Problem(path, text, unknown, crossing=entry["type"] == "value_error")


def _quoted(text: str) -> list[str]:
    """The quoted values of a message of pydantic's, which lists them so."""
    return re.findall(r"'([^']*)'", text)


def _unknown_key(path: str, allowed: Iterable[str], with_nearest: bool = True) -> str:
    key, names = path.rpartition(".")[2], sorted(set(allowed))
    if not with_nearest:
        return f"unknown key {key!r}: {_KEYS} {', '.join(names)}"
    return f"unknown key {key!r}{nearest_first(key, names, _KEYS, belongs(path))}"


def _bound(context: Mapping[str, Any]) -> str:
    """What pydantic says of a number beyond a bound, as a person says it; empty of other refusals."""
    names = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
    return next((f"it must be {names[name]} {context[name]:.15g}" for name in names if name in context), "")


def _not_allowed(value: object, allowed: list[str]) -> str:
    return (
        f"{shorten(value)} is not allowed: the values are {', '.join(allowed)}{did_you_mean(value, allowed)}"
    )


def _below(annotation: Any, part: int | str) -> tuple[Any, bool]:
    """Follow one part of a pydantic location: the type below it, and whether the user wrote that part."""
    members = _members(annotation)
    if len(members) > 1:  # pydantic names the branch it took
        return next((member for member in members if _kind(member) == part), None), False
    (bare,) = members
    if isinstance(bare, type) and issubclass(bare, pydantic.BaseModel):
        known = bare.model_fields.get(str(part))
        return (known.annotation if known else None), True
    if get_origin(bare) is dict:
        return get_args(bare)[1], True
    if get_origin(bare) in (tuple, list):
        return get_args(bare)[0], True
    return None, part != "[key]"


def _members(annotation: Any) -> list[Any]:
    """The alternatives of an annotation, without None and without Annotated."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [member for arg in get_args(annotation) if arg is not type(None) for member in _members(arg)]
    return [annotation]


def _models(annotation: Any) -> list[type[pydantic.BaseModel]]:
    members = _members(annotation)
    return [
        member for member in members if isinstance(member, type) and issubclass(member, pydantic.BaseModel)
    ]


def _kind(model: Any) -> object:
    """The default of a model's ``kind``, its tag in a union."""
    known = getattr(model, "model_fields", {}).get("kind")
    return known.default if known else None
