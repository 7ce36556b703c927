"""Nested mappings of a space file: laying over each other, paths, and where each path was written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from minbert.config import TrainConfig
from minbert.dotted import leaves
from minbert.errors import UserError, did_you_mean
from minbert.yaml_reader import Located
from trainables.spaces.distribution_parsing import KINDS, is_distribution


def overlay(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a tree over another as :func:`minbert.config.merge` does, distributions whole and nulls kept."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        mappings = isinstance(value, Mapping) and isinstance(below, Mapping)
        whole = is_distribution(value) or is_distribution(below)
        merged[key] = overlay(cast(Mapping[str, Any], below), value) if mappings and not whole else value
    return merged


def leaf(config: Any, path: str) -> Any:
    """What a configuration, a model or nested mappings, has at a dotted path.

    Raises:
        KeyError, AttributeError: it has no such path.
    """
    for key in path.split("."):
        config = config[key] if isinstance(config, Mapping) else getattr(config, key)
    return config


def split(
    tree: Mapping[str, Any], within: str, written: Located
) -> tuple[dict[str, Any], list[tuple[str, Mapping[str, Any]]]]:
    """Part a partial configuration into what is fixed and its distributions by path."""
    base: dict[str, Any] = {}
    nodes: list[tuple[str, Mapping[str, Any]]] = []
    for key, value in tree.items():
        path = f"{within}.{key}" if within else key
        if is_distribution(value):
            nodes.append((path, value))
        elif isinstance(value, Mapping):
            _refuse_misspelt(path, value, written)
            inner, found = split(value, path, written)
            nodes.extend(found)
            if inner or not found:
                base[key] = inner
        else:
            base[key] = value
    return base, nodes


def _refuse_misspelt(path: str, value: Mapping[str, Any], written: Located) -> None:
    """Refuse a mapping that stands where the schema has a plain value: a misspelt distribution."""
    names = [key for key in value if key not in ("when", "step")]
    plain = not isinstance(_DEFAULTS.get(path), Mapping | None)  # unset leaves may be mappings when set
    if names and plain:
        message = (
            f"{names[0]!r} is no distribution: they are {', '.join(KINDS)}{did_you_mean(names[0], KINDS)}"
        )
        raise UserError(f"{written.where(f'{path}.{names[0]}')}: {path}: {message}")


@dataclass(frozen=True)
class Layers:
    """Documents laid over each other, the nearest first."""

    layers: tuple[Located, ...]

    def knows(self, dotted: str) -> bool:
        """Whether any layer has this path."""
        return any(layer.knows(dotted) for layer in self.layers)

    def where(self, dotted: str) -> str:
        """The place of the path, or of the nearest above it, in the nearest layer that has it."""
        for path in upwards(dotted):
            for layer in self.layers:
                if layer.knows(path):
                    return layer.where(dotted)
        return self.layers[0].where(dotted)

    def settings_named(self, section: str, text: str) -> str:
        """The settings that a text names, those of the lowest layer first, each once."""
        named = [each.settings_named(section, text) for each in reversed(self.layers)]
        return ", ".join(dict.fromkeys(filter(None, named)))


@dataclass(frozen=True)
class Set:
    """A setting that no file holds; it stands above the leaf and above what any run sets there."""

    origin: str
    path: str

    def knows(self, dotted: str) -> bool:
        """Whether the setting is this path or stands above it, also within what a run sets."""
        if dotted.startswith("runs."):
            dotted = dotted.partition(".set.")[2]
        return bool(self.path) and (dotted == self.path or dotted.startswith(self.path + "."))

    def where(self, dotted: str) -> str:
        """The setting itself."""
        return self.origin

    def settings_named(self, section: str, text: str) -> str:
        """The setting, where a text about a section names its path as a whole; or empty."""
        within = f"{section}." if section else ""
        name = re.escape(self.path.removeprefix(within))
        named = self.path.startswith(within) and re.search(rf"(?<![\w.]){name}(?![\w.]\w)", text)
        return self.origin if named else ""


@dataclass(frozen=True)
class At:
    """A document in which a leaf is said to stand where the level at hand does."""

    written: Located
    path: str
    level: str

    def knows(self, dotted: str) -> bool:
        """Whether exactly this path stands in the document."""
        return self.written.knows(dotted)

    def where(self, dotted: str) -> str:
        """The place of the path; of the leaf and what is inside it, that of the level."""
        inside = dotted == self.path or dotted.startswith(self.path + ".")
        return self.written.where(self.level if inside else dotted)

    def settings_named(self, section: str, text: str) -> str:
        """The settings that the document names."""
        return self.written.settings_named(section, text)


@dataclass(frozen=True)
class InRun:
    """A document as one run sees it: what the run sets, or a run that it is like, stands above the rest."""

    written: Located
    chain: tuple[str, ...]
    """The run, the one that it is like, the one that this is like, and so on."""

    def knows(self, dotted: str) -> bool:
        """Whether the document has this path, or one of the runs sets it."""
        return any(self.written.knows(place) for place in self._places(dotted))

    def where(self, dotted: str) -> str:
        """The place of the path, or of the nearest above it that is written, and the run; else that of the run itself."""
        places = (place for path in upwards(dotted) for place in self._places(path))
        own = f"runs.{self.chain[0]}"
        place = next((place for place in places if self.written.knows(place)), own)
        return f"{self.written.where(place)}: run {self.chain[0]!r}"

    def settings_named(self, section: str, text: str) -> str:
        """The settings that the document names, and the run; or empty."""
        named = self.written.settings_named(section, text)
        return f"{named}: run {self.chain[0]!r}" if named else ""

    def _places(self, dotted: str) -> list[str]:
        return [*(f"runs.{name}.set.{dotted}" for name in self.chain), dotted]


def upwards(dotted: str) -> Iterator[str]:
    """The path and those above it, the innermost first."""
    while dotted:
        yield dotted
        dotted = dotted.rpartition(".")[0]


_DEFAULTS = leaves(TrainConfig().model_dump(mode="json"))
