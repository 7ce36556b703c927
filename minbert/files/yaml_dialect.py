"""YAML files read with the line of every key, so that a mistake is answered by one line naming its place.

The dialect is the core schema of YAML 1.2: ``1e-5`` is a number, ``no`` and ``off`` are strings.
Duplicate keys, keys that are not strings and tags of other types are refused.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import yaml

from minbert.errors import UserError, cut
from minbert.files.sealed import is_unchanged, sealed_text
from minbert.files.storage import why_refused
from minbert.files.strangers import refuse_irregular

MAX_BYTES = 500_000


MAX_VALUES = 100_000


MAX_DEPTH = 50


MAX_KEY = 200


MAX_RECORD_BYTES = 50_000_000


_TAG = "tag:yaml.org,2002:"


_RESOLVERS = (
    ("null", r"(?:~|null|Null|NULL|)", "~nN\0"),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)", "tTfF"),
    ("int", r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)", "-+0123456789"),
    (
        "float",
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))",
        "-+.0123456789",
    ),
)


class Located(Protocol):
    """Something that can say where a dotted path was written."""

    def knows(self, dotted: str) -> bool:
        """Whether exactly this path was written here."""
        ...

    def where(self, dotted: str) -> str:
        """The place of the path, for the start of a message."""
        ...

    def settings_named(self, section: str, text: str) -> str:
        """Settings of a command line that a text about a section names, for the start of a message; or empty."""
        ...


@dataclass(frozen=True)
class Document:
    """The content of one YAML file and the line of every path in it."""

    data: dict[str, Any]
    path: Path
    lines: Mapping[str, int] = field(default_factory=dict, repr=False, compare=False)

    def knows(self, dotted: str) -> bool:
        """Whether exactly this path stands in the file."""
        return dotted in self.lines

    def settings_named(self, section: str, text: str) -> str:
        """None: this is a file."""
        return ""

    def line(self, dotted: str) -> int:
        """Line (from 1) of the path, or of the nearest part of the document that encloses it."""
        while dotted and dotted not in self.lines:
            dotted = dotted.rpartition(".")[0]
        return self.lines.get(dotted, 1)

    def where(self, dotted: str) -> str:
        """``file:line`` of the path."""
        return f"{self.path}:{self.line(dotted)}"


def read_yaml(path: Path) -> Document:
    """Read one YAML file whose content is a mapping.

    Raises:
        UserError: the file is missing, not what :func:`sealed_yaml` made, not UTF-8, not of the dialect above, or not a
            mapping.
    """
    return _read_file(path, MAX_BYTES, lambda line: f"{path}:{line}")


def read_record(path: Path) -> dict[str, Any]:
    """Read a YAML file that a program of ours wrote, of any size; a mistake in it is damage.

    Raises:
        UserError: as :func:`read_yaml`.
    """
    return _read_file(path, MAX_RECORD_BYTES, lambda line: f"{path}: damaged at line {line}").data


def _read_file(path: Path, most: int, place: Callable[[int], str]) -> Document:
    refuse_irregular(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(most + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {why_refused(error, path)}") from None
    except ValueError as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    if len(content) > most:
        raise UserError(f"{place(1)}: larger than {most} bytes; this is no configuration file")
    content = content.removeprefix(codecs.BOM_UTF8)
    if not is_unchanged(content):
        raise UserError(
            f"{path}: damaged: its first line says another content; bring it back from a copy, or remove that line if "
            "you changed the file yourself"
        )
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{place(line)}: not UTF-8 text (byte 0x{content[error.start]:02x})") from None
    # Without aliases there are fewer values than bytes.
    reader = _Reader(place, max(MAX_VALUES, len(content)))
    data = reader.read(text)
    if not isinstance(data, dict):
        found = "the file is empty" if data is None else f"found {shorten(data)}"
        raise UserError(f"{place(1)}: expected a mapping of keys to values; {found}")
    return Document(data, path, reader.lines)


def parse_value(text: str, origin: str) -> Any:
    """Parse one scalar or flow value (``0.1``, ``[a, b]``, ``{kind: cross}``), as on a command line.

    Raises:
        UserError: not of the dialect; the message starts with `origin`.
    """
    return _Reader(lambda line: origin).read(text)


def dump_yaml(data: Any) -> str:
    """Write plain data as YAML that :func:`read_yaml` reads back identically, keys in their own order."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def sealed_yaml(data: Any) -> str:
    """As :func:`dump_yaml`, for a file: with a first line that lets the reader find what changes later."""
    return sealed_text(dump_yaml(data))


def shorten(value: object) -> str:
    """Repr of a value, cut to fit a message of one line."""
    return cut(repr(value))


def join(prefix: str, path: str) -> str:
    """Two parts of a dotted path as one; either may be empty."""
    return f"{prefix}.{path}" if prefix and path else prefix or path


class _Reader:
    """Builds plain data from YAML's node tree, noting lines and counting values on the way."""

    def __init__(self, place: Callable[[int], str], most_values: int = MAX_VALUES) -> None:
        self.place = place
        self.most_values = most_values
        self.lines: dict[str, int] = {}
        self.values = 0

    def read(self, text: str) -> Any:
        try:
            node = yaml.compose(text, Loader=_Loader)
            return None if node is None else self._build(node, "", 0)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            problem = ": ".join(part for part in (error.context, error.problem) if part)
            problem += "; use spaces" * (r"character '\t'" in problem)
            raise self._error(
                (mark.line if mark else 0) + 1, f"not valid YAML: {cut(problem, 200)}"
            ) from None
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise self._error(
                line, f"not valid YAML: the character {error.character:#x} is not allowed"
            ) from None
        except RecursionError:
            raise self._error(1, "nested too deeply") from None
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            raise self._error(1, f"not valid YAML: {error}") from None

    def _error(self, line: int, text: str) -> UserError:
        return UserError(f"{self.place(line)}: {text}")

    def _build(self, node: yaml.Node, path: str, depth: int) -> Any:
        line = node.start_mark.line + 1
        self.values += 1
        if depth > MAX_DEPTH:
            raise self._error(line, "nested too deeply")
        if self.values > self.most_values:
            raise self._error(
                line, f"more than {self.most_values} values, aliases counted where they are used"
            )
        self.lines.setdefault(path, line)
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self._build(item, join(path, str(at)), depth + 1) for at, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag.removeprefix(_TAG) in _SCALARS:
            try:
                node.value.encode()
                return _SCALARS[node.tag.removeprefix(_TAG)](node.value)
            except (ValueError, KeyError):
                kind = node.tag.removeprefix(_TAG)
                why = f"{shorten(node.value)} is not a valid {kind}"
                if kind == "int" and re.fullmatch(r"[-+]?[0-9]+", node.value):
                    why = f"{shorten(node.value)} is too large a number: whole ones are below 2**64"
                raise self._error(line, f"{path}: {why}" if path else why) from None
        raise self._error(line, f"the tag {shorten(node.tag)} is not allowed here; write plain values")

    def _mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        first_lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != _TAG + "str":
                other = (
                    shorten(key_node.value) if isinstance(key_node, yaml.ScalarNode) else f"a {key_node.id}"
                )
                raise self._error(line, f"a key must be a string, not {other}")
            key = self._build(key_node, "", depth)
            if len(key) > MAX_KEY:
                raise self._error(line, f"a key of {len(key)} characters")
            if key in mapping:
                raise self._error(line, f"the key {key!r} stands here and on line {first_lines[key]}")
            first_lines[key] = line
            self.lines[join(path, key)] = line
            mapping[key] = self._build(value_node, join(path, key), depth + 1)
        return mapping


def _int(text: str) -> int:
    value = int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if abs(value) >= 2**64:  # longer ones cannot even be printed
        raise ValueError(text)
    return value


def _float(text: str) -> float:
    return float(re.sub(r"\.(inf|nan)$", r"\1", text.lower()))


_SCALARS: Mapping[str, Any] = {
    "str": str,
    "null": lambda text: None,
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
    "int": _int,
    "float": _float,
}


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2 instead of those of 1.1."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML's own attribute)


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes a string which either version of YAML would read as something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Only double quotes keep the line breaks of Unicode as they are."""
        style = '"' if any(mark in data for mark in "\r\x85\u2028\u2029\ufeff") else None
        return self.represent_scalar(_TAG + "str", data, style)


_Dumper.add_representer(str, _Dumper.represent_str)


for _name, _pattern, _first in _RESOLVERS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(
            _TAG + _name, re.compile(f"^{_pattern}$"), ["" if c == "\0" else c for c in _first]
        )
