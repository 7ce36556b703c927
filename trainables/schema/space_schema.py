"""A JSON Schema (draft 2020-12) of space files, by which editors complete and check them.

It is made from the models that read the files, so that it knows what they know: every leaf of a configuration, with
its bounds and what the source says of it. What it cannot express, such as two settings that exclude each other through
a third, ``python -m trainables.space check`` finds. It never refuses a space that is valid, but for a number in quotes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minbert.config import TrainConfig
from minbert.schema import Frozen
from trainables.schema.config_schema import ConfigSchema, Form
from trainables.schema.field_notes import field_notes, model_note
from trainables.spaces.claims import Claim
from trainables.spaces.files import available_spaces
from trainables.spaces.runs import Paper, Run
from trainables.spaces.settings import SearchSettings

DIALECT = "https://json-schema.org/draft/2020-12/schema"
NOT_FOR_SPACES = ("data", "encoder", "seed")
"""Leaves that options of a search choose."""
NOT_FOR_RUNS = (*NOT_FOR_SPACES, "device", "precision", "threads")
"""Leaves that are the same for all runs of a study."""
_RUN_NAME = r"^[^/\u0000-\u001f\u007f]+$"


def space_schema() -> dict[str, Any]:
    """The schema as plain data, ready for JSON."""
    config = ConfigSchema.of(TrainConfig, leave_out=NOT_FOR_SPACES)
    parts = {
        "Search": _model(SearchSettings, base=_base(config)),
        "Paper": _model(Paper),
        "Claim": _model(Claim),
        "Run": _model(Run, set=config.section("TrainConfig", Form.RUN, leave_out=NOT_FOR_RUNS)),
    }
    definitions: dict[str, Any] = {}
    for name, part in parts.items():
        definitions |= part.pop("$defs", {}) | {name: part}
    drawn = config.section("TrainConfig", Form.DRAWN)["properties"]
    return {
        "$schema": DIALECT,
        "title": "minbert-search space",
        "description": "A search space: a partial training configuration in which some leaves are distributions.",
        "type": "object",
        "properties": {**_own_keys(), **drawn},
        "additionalProperties": False,
        "allOf": _by_design(list(drawn)),
        "$defs": definitions | config.definitions,
    }


def _own_keys() -> dict[str, Any]:
    """What a space file has beside a configuration."""
    described: dict[str, tuple[Mapping[str, Any], str]] = {
        "description": ({"type": ["string", "null"]}, "The question that the space answers."),
        "extends": (
            {"anyOf": [{"enum": available_spaces()}, {"type": "string", "pattern": r"\.ya?ml$"}]},
            "Another space, by its name or by its path from this file: this file says what differs from it.",
        ),
        "search": (_or_null("Search"), model_note(SearchSettings)),
        "paper": (_or_null("Paper"), model_note(Paper)),
        "runs": (
            {**_mapping(_or_null("Run")), "propertyNames": {"pattern": _RUN_NAME}, "minProperties": 1},
            "Of the design listed: its runs by their names, each with what it sets.",
        ),
        "claims": (
            {**_mapping({"$ref": "#/$defs/Claim"}), "type": ["object", "null"]},
            "Of the design listed: what its source says of the runs, by the claims' numbers.",
        ),
    }
    return {key: {"description": note, **schema} for key, (schema, note) in described.items()}


def _by_design(leaves: list[str]) -> list[dict[str, Any]]:
    """What goes with one design only."""

    def designed(name: Any) -> dict[str, Any]:
        section = {"type": "object", "required": ["design"], "properties": {"design": name}}
        return {"required": ["search"], "properties": {"search": section}}

    def everywhere(reference: str) -> dict[str, Any]:
        return {"properties": {leaf: {"$ref": f"#/$defs/{reference}"} for leaf in leaves}}

    listed, other = designed({"const": "listed"}), designed({"not": {"const": "listed"}})
    of_a_list = {"anyOf": [{"required": [key]} for key in ("runs", "paper", "claims")]}
    extends: dict[str, Any] = {"required": ["extends"]}
    return [
        {
            "if": listed,
            "then": everywhere("listed"),
            "else": {"properties": {"stages": {"additionalProperties": {"$ref": "#/$defs/rules"}}}},
        },
        {"if": {"allOf": [listed, {"not": extends}]}, "then": {"required": ["runs"]}},
        {"if": {"anyOf": [other, {"not": {"anyOf": [listed, extends]}}]}, "then": {"not": of_a_list}},
        {"if": designed({"const": "grid"}), "then": everywhere("countable")},
    ]


def _base(config: ConfigSchema) -> dict[str, Any]:
    """``search.base``: a level by the path of its factor."""
    return {"type": "object", **config.by_path(), "additionalProperties": False}


def _model(model: type[Frozen], **instead: Any) -> dict[str, Any]:
    """The schema of a part that is read as it stands.

    Args:
        model: its model.
        instead: schemas of leaves of which the model does not say all.
    """
    schema = model.model_json_schema()
    models = {each.__name__: each for each in _all_models(Frozen)}
    for name, part in {model.__name__: schema, **schema.get("$defs", {})}.items():
        notes, fields = field_notes(models[name]), models[name].model_fields
        part["description"] = model_note(models[name])
        for key, value in part["properties"].items():
            value.pop("title", None)
            if key in notes:
                value["description"] = notes[key]
            if (
                value.get("items") == {"type": "string"} and fields[key].metadata
            ):  # one text may stand for a list
                value["type"] = ["array", "string"]
    for key, value in instead.items():
        note = {name: text for name, text in schema["properties"][key].items() if name == "description"}
        schema["properties"][key] = {**value, **note}
    return schema


def _all_models(model: type[Frozen]) -> list[type[Frozen]]:
    return [each for below in model.__subclasses__() for each in (below, *_all_models(below))]


def _mapping(values: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": values}


def _or_null(name: str) -> Mapping[str, Any]:
    return {"anyOf": [{"$ref": f"#/$defs/{name}"}, {"type": "null"}]}
