"""Schemas of a partial configuration: as it is drawn from, as a level holds it, and as a run of a list sets it.

Definitions are named ``HeadConfig.kind`` (a leaf), ``HeadConfig.drawn`` and ``HeadConfig.fixed`` (a section), ``when``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, get_args

import pydantic

from minbert.config import TrainConfig
from minbert.schema import Frozen
from trainables.schema.field_notes import field_notes, model_note
from trainables.schema.leaf_schema import distributions, leaf_schema
from trainables.schema.schema_rules import RULES

Schema = dict[str, Any]


class Form(Enum):
    """How a section is written."""

    DRAWN = "drawn"
    """In a space: leaves and sections may be distributions."""
    FIXED = "fixed"
    """As a level of a choice: plain values."""
    RUN = "run"
    """Under ``set`` of a run: plain values, also by dotted paths."""


@dataclass(frozen=True)
class Path:
    """Where a leaf or section stands: a pattern of its dotted path, the path itself where names are known, and its schema."""

    pattern: str
    literal: str | None
    schema: Schema | bool
    depth: int = 1

    def within(self, pattern: str, literal: str | None) -> Path:
        """The same below a key."""
        both = literal is not None and self.literal is not None
        name = f"{literal}.{self.literal}" if both else None
        return Path(rf"{pattern}\.{self.pattern}", name, self.schema, self.depth + 1)


@dataclass
class ConfigSchema:
    """The definitions that schemas of a configuration refer to.

    Attributes:
        models: the parts of a configuration by the names of their classes, as pydantic describes them.
        named: of a mapping of parts by names of their own, such as the stages, which part the names are that exist
            by default.
        definitions: all definitions.
    """

    models: Mapping[str, Schema]
    named: Mapping[str, Mapping[str, str]]
    definitions: Schema = field(default_factory=dict)

    @classmethod
    def of(cls, model: type[Frozen], leave_out: Sequence[str] = ()) -> ConfigSchema:
        """The definitions for a configuration, of which some leaves at its top are not for spaces."""
        whole = model.model_json_schema()
        parts = whole.pop("$defs")
        for key in leave_out:
            del whole["properties"][key]
        text = json.dumps([whole, parts])
        models = {name: part for name, part in parts.items() if f'/{name}"' in text} | {model.__name__: whole}
        defaults = model()
        named = {
            key: {name: type(part).__name__ for name, part in value.items()}
            for key in whole["properties"]
            for value in (getattr(defaults, key),)
            if isinstance(value, Mapping) and value
        }
        made = cls(models, named)
        made._define(model)
        return made

    def section(self, name: str, form: Form, leave_out: Sequence[str] = ()) -> Schema:
        """A section whose keys are all optional; null stands for the default."""
        parts = {key: part for key, part in self.models[name]["properties"].items() if key not in leave_out}
        schema: Schema = {
            "type": ["object", "null"],
            "properties": {key: self._part(name, key, part, form) for key, part in parts.items()},
            "additionalProperties": False,
        }
        if form is Form.RUN:
            self._add(schema, (path for path in self._paths_of(name) if path.depth > 1))
        return schema

    def by_path(self) -> Schema:
        """The ``properties`` and ``patternProperties`` of values by dotted paths."""
        schema: Schema = {"properties": {}}
        self._add(schema, self._paths_of(TrainConfig.__name__))
        return schema

    def _define(self, model: type[Frozen]) -> None:
        classes = {each.__name__: each for each in _parts(model)}
        for name, whole in self.models.items():
            notes = field_notes(classes[name])
            for key, part in whole["properties"].items():
                if not _is_section(part) and not _is_mapping(part):
                    self.definitions[f"{name}.{key}"] = leaf_schema(part, notes.get(key))
        for name in self.models:
            for form in Form if name != model.__name__ else ():
                note = model_note(classes[name])
                self.definitions[f"{name}.{form.value}"] = {"description": note} | self.section(name, form)
        self.definitions["when"] = self._when()
        self.definitions |= RULES

    def _part(self, name: str, key: str, part: Schema, form: Form) -> Schema:
        """The schema of what stands under one key of a section."""
        if _is_mapping(part):
            return self._or_choice(self._mapping(key, part, form), self._mapping(key, part, Form.FIXED), form)
        if _is_section(part):
            below = _model_of(part["$ref"])
            return self._or_choice(_ref(f"{below}.{form.value}"), _ref(f"{below}.fixed"), form)
        if form is not Form.DRAWN:
            return _ref(f"{name}.{key}")
        kinds = [
            each["properties"][key].get("const") for each in self.models.values() if key in each["properties"]
        ]
        levels: Schema = {"enum": kinds} if "const" in part else _ref(f"{name}.{key}")
        return distributions(self.definitions[f"{name}.{key}"], _ref(f"{name}.{key}"), levels)

    def _mapping(self, key: str, part: Schema, form: Form) -> Schema:
        """Parts by names of their own: those that exist by default are known, of others any kind is possible."""

        def of(models: Sequence[str]) -> Schema:
            refs = [_ref(f"{model}.{form.value}") for model in models]
            fixed = [_ref(f"{model}.fixed") for model in models]
            return self._or_choice(_any_of(refs), _any_of(fixed), form)

        others = _models_of(part["additionalProperties"])
        schema: Schema = {
            "type": ["object", "null"],
            "properties": {name: of([model]) for name, model in self.named[key].items()},
            "additionalProperties": of(others),
        }
        if form is Form.RUN:
            self._add(schema, (path for path in self._paths_of_mapping(key, part) if path.depth > 1))
        return schema

    def _or_choice(self, section: Schema, level: Schema, form: Form) -> Schema:
        """A section, which as a whole may be a choice."""
        if form is not Form.DRAWN:
            return section
        choice = distributions({}, {}, level)["anyOf"][1]
        return {"if": {"type": "object", "required": ["choice"]}, "then": choice, "else": section}

    def _paths_of(self, name: str) -> Iterator[Path]:
        """Everything below a part of the configuration."""
        for key, part in self.models[name]["properties"].items():
            if _is_mapping(part):
                yield from (path.within(key, key) for path in self._paths_of_mapping(key, part))
            elif _is_section(part):
                yield Path(key, key, True)
                yield from (path.within(key, key) for path in self._paths_of(_model_of(part["$ref"])))
            else:
                leaf = _ref(f"{name}.{key}")
                yield Path(key, key, leaf)
                inner = next(
                    (each for each in part.get("anyOf", [part]) if "additionalProperties" in each), None
                )
                if inner:
                    yield Path(rf"{key}\.[^.]+", None, inner["additionalProperties"], depth=2)

    def _paths_of_mapping(self, key: str, part: Schema) -> Iterator[Path]:
        known = self.named[key]
        for name, model in known.items():
            yield Path(name, name, True)
            yield from (path.within(name, name) for path in self._paths_of(model))
        other = rf"(?!(?:{'|'.join(known)})(?:\.|$))[^.]+"
        yield Path(other, None, True)
        found: dict[str, list[Path]] = {}
        for model in _models_of(part["additionalProperties"]):
            for path in self._paths_of(model):
                found.setdefault(path.pattern, []).append(path)
        for paths in found.values():
            leaf = _any_of([path.schema for path in paths])
            yield Path(paths[0].pattern, None, leaf, paths[0].depth).within(other, None)

    def _add(self, schema: Schema, paths: Iterable[Path]) -> None:
        for path in paths:
            if path.literal is None:
                schema.setdefault("patternProperties", {})[f"^{path.pattern}$"] = path.schema
            else:
                schema["properties"][path.literal] = path.schema

    def _when(self) -> Schema:
        """A condition: paths, each with a value or a list of values."""
        schema = self.by_path()
        for kind in ("properties", "patternProperties"):
            for key, value in schema[kind].items():
                if value is not True:
                    listed = {"type": "array", "minItems": 1, "items": value}
                    schema[kind][key] = {"anyOf": [value, listed]}
        note = "The leaf is drawn only where every path has its value, or one of its values; else it keeps its default."
        return {"description": note, "type": "object", **schema, "additionalProperties": False}


def _parts(annotation: Any) -> Iterator[type[Frozen]]:
    """The models within a model, itself among them."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        yield annotation  # type: ignore[misc]
        for each in annotation.model_fields.values():
            yield from _parts(each.annotation)
    for argument in get_args(annotation):
        yield from _parts(argument)


def _is_section(part: Schema) -> bool:
    return "$ref" in part


def _is_mapping(part: Schema) -> bool:
    """Whether it holds sections by names of their own."""
    return {"$ref", "oneOf"} & set(part.get("additionalProperties", ())) != set()


def _models_of(part: Schema) -> list[str]:
    return [_model_of(each["$ref"]) for each in part.get("oneOf", [part])]


def _model_of(reference: str) -> str:
    return reference.rpartition("/")[2]


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _any_of(schemas: Sequence[Any]) -> Any:
    distinct = [each for at, each in enumerate(schemas) if each not in schemas[:at]]
    return distinct[0] if len(distinct) == 1 else {"anyOf": distinct}
