"""What a schema of space files can say across leaves.

Only what is refused whatever else a space says has a place here.
"""

from __future__ import annotations

from typing import Any

from trainables.spaces.distribution_parsing import KINDS

Schema = dict[str, Any]


def _everywhere(name: str, refused: list[Schema]) -> Schema:
    """No mapping, at any depth, is of a refused form."""
    below = {"additionalProperties": {"$ref": f"#/$defs/{name}"}}
    return {"if": {"type": "object"}, "then": {"not": {"anyOf": refused}, **below}}


def _takes(value: Schema) -> Schema:
    """A leaf that has such a value, or such a level without a condition."""
    drawn = {
        "required": ["choice"],
        "properties": {"choice": {"contains": value}},
        "not": {"required": ["when"]},
    }
    return {"anyOf": [value, {"type": "object", **drawn}]}


def _excluded(*leaves: tuple[str, Schema]) -> Schema:
    """Leaves of a section that do not go together, by dotted path, each with the values that are meant."""
    return {"not": {"allOf": [_has(path, schema) for path, schema in leaves]}}


def _has(path: str, schema: Schema) -> Schema:
    key, _, rest = path.partition(".")
    below = _has(rest, schema) if rest else schema
    return {"type": "object", "required": [key], "properties": {key: below}}


_OTHER_THAN_CONCURRENT = _takes({"type": "string", "not": {"const": "concurrent"}})
_NUMBER, _TEXT = {"type": "number"}, {"type": "string"}

RULES: dict[str, Schema] = {
    "listed": {
        "description": "A listed space draws nothing: its runs say all.",
        **_everywhere("listed", [{"required": [kind]} for kind in KINDS]),
    },
    "countable": {
        "description": "A grid needs levels: name them with choice, or give a uniform a step.",
        **_everywhere(
            "countable",
            [{"required": ["log_uniform"]}, {"required": ["uniform"], "not": {"required": ["step"]}}],
        ),
    },
    "rules": {
        "description": "Settings of a stage that exclude each other.",
        "allOf": [
            _excluded(("pcgrad", _takes({"const": True})), ("sampler.kind", _OTHER_THAN_CONCURRENT)),
            _excluded(("combine", _takes({"const": "mean"})), ("sampler.kind", _OTHER_THAN_CONCURRENT)),
            _excluded(
                ("pcgrad", _takes({"const": True})),
                ("smart.weight", _takes({"type": "number", "exclusiveMinimum": 0})),
            ),
            _excluded(("epoch_steps", _takes(_NUMBER)), ("epoch_examples", _takes(_NUMBER))),
            _excluded(("task", _takes(_TEXT)), ("triplets", _takes(_TEXT))),
            _excluded(("warmup_steps", _NUMBER), ("warmup_share", {**_NUMBER, "not": {"enum": [0, 0.1]}})),
        ],
    },
}
"""Definitions by their names; the first two hold for whole sections, the last for a stage."""
