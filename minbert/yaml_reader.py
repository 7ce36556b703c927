"""YAML files read with the line of every key, so that a mistake is answered by one line naming its place.

The dialect is the core schema of YAML 1.2: ``1e-5`` is a number, ``no`` and ``off`` are strings.
Duplicate keys, keys that are not strings and tags of other types are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Protocol, Union, get_args, get_origin

import pydantic
import yaml

from minbert.config import TrainConfig, build_config
from minbert.errors import UserError, did_you_mean

MAX_BYTES = 500_000
MAX_VALUES = 100_000
MAX_DEPTH = 50
MAX_KEY = 200
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


@dataclass(frozen=True)
class Document:
    """The content of one YAML file and the line of every path in it."""

    data: dict[str, Any]
    path: Path
    lines: Mapping[str, int] = field(default_factory=dict, repr=False, compare=False)

    def knows(self, dotted: str) -> bool:
        """Whether exactly this path stands in the file."""
        return dotted in self.lines

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
        UserError: the file is missing, not UTF-8, not of the dialect above, or not a mapping.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path}: cannot be read: {reason}") from None
    if len(content) > MAX_BYTES:
        raise UserError(f"{path}:1: larger than {MAX_BYTES} bytes; this is no configuration file")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line}: not UTF-8 text (byte 0x{content[error.start]:02x})") from None
    reader = _Reader(str(path))
    data = reader.read(text)
    if not isinstance(data, dict):
        found = "the file is empty" if data is None else f"found {shorten(data)}"
        raise UserError(f"{path}:1: expected a mapping of keys to values; {found}")
    return Document(data, path, reader.lines)


def parse_value(text: str, origin: str) -> Any:
    """Parse one scalar or flow value (``0.1``, ``[a, b]``, ``{kind: cross}``), as on a command line.

    Raises:
        UserError: not of the dialect; the message starts with `origin`.
    """
    return _Reader(origin, numbered=False).read(text)


def load_config(path: Path) -> TrainConfig:
    """Read a YAML file with a partial configuration and lay it over the defaults.

    Raises:
        UserError: as :func:`read_yaml`, or a key or value is not of the schema.
    """
    document = read_yaml(path)
    check_nulls(document, document.data)
    try:
        return build_config(document.data)
    except pydantic.ValidationError as error:
        raise config_error(document, error) from None


def dump_yaml(data: Any) -> str:
    """Write plain data as YAML that :func:`read_yaml` reads back identically, keys in their own order."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


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
    path = _join(prefix, first.path)
    text = first.text
    if first.unknown and not document.knows(path):
        path = path.rpartition(".")[0]
        text = (
            f"the default of this name has a key {first.unknown!r} that does not fit what is written here; "
            "use another name"
        )
    # Our own validators begin with the key that is wrong, which is a nearer place than its section.
    nearer = _join(path, text.split(" ", 1)[0])
    place = document.where(nearer if document.knows(nearer) else path)
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
        problem = _problem(entry, schema)
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
        path = _join(within, key)
        models = _models(schema)
        if value is None and models and not any(key in model.model_fields for model in models):
            text = _unknown_key(key, {name for model in models for name in model.model_fields})
            raise UserError(f"{document.where(path)}: {path}: {text}")
        below = [_below(model, key)[0] for model in models] or [_below(schema, key)[0]]
        if isinstance(value, Mapping):
            check_nulls(document, value, path, next((each for each in below if each is not None), None))


def shorten(value: object) -> str:
    """Repr of a value, cut to fit a message of one line."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _problem(entry: Any, schema: type[pydantic.BaseModel]) -> Problem:
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
            text = _unknown_key(
                unknown, [name for model in _models(enclosing) for name in model.model_fields]
            )
        case "literal_error":
            text = _not_allowed(value, _quoted(context["expected"]))
        case "union_tag_invalid":
            path += ".kind"
            text = _not_allowed(context["tag"], _quoted(context["expected_tags"]))
        case "union_tag_not_found":
            kinds = " or ".join(str(_kind(model)) for model in _models(annotation))
            text = f"kind is missing: write kind: {kinds}"
        case "missing":
            text = "is missing"
        case "value_error":
            text = entry["msg"].removeprefix("Value error, ")
        case "dict_type" | "model_type" | "model_attributes_type":
            text = f"{shorten(value)} is not allowed: it must be a mapping"
        case _:
            text = f"{shorten(value)} is not allowed: {entry['msg']}"
    return Problem(path, text, unknown, crossing=entry["type"] == "value_error")


def _quoted(text: str) -> list[str]:
    """The quoted values of a message of pydantic's, which lists them so."""
    return re.findall(r"'([^']*)'", text)


def _unknown_key(key: str, allowed: Iterable[str]) -> str:
    names = sorted(set(allowed))
    return f"unknown key {key!r}: the keys here are {', '.join(names)}{did_you_mean(key, names)}"


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


def _join(prefix: str, path: str) -> str:
    return f"{prefix}.{path}" if prefix and path else prefix or path


class _Reader:
    """Builds plain data from YAML's node tree, noting lines and counting values on the way."""

    def __init__(self, origin: str, numbered: bool = True) -> None:
        self.origin = origin
        self.numbered = numbered
        self.lines: dict[str, int] = {}
        self.values = 0

    def read(self, text: str) -> Any:
        try:
            node = yaml.compose(text, Loader=_Loader)
            return None if node is None else self._build(node, "", 0)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            problem = ": ".join(part for part in (error.context, error.problem) if part)
            raise self._error((mark.line if mark else 0) + 1, f"not valid YAML: {problem}") from None
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
        return UserError(f"{self.origin}:{line}: {text}" if self.numbered else f"{self.origin}: {text}")

    def _build(self, node: yaml.Node, path: str, depth: int) -> Any:
        line = node.start_mark.line + 1
        self.values += 1
        if depth > MAX_DEPTH:
            raise self._error(line, "nested too deeply")
        if self.values > MAX_VALUES:
            raise self._error(line, f"more than {MAX_VALUES} values, aliases counted where they are used")
        self.lines.setdefault(path, line)
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self._build(item, _join(path, str(at)), depth + 1) for at, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag.removeprefix(_TAG) in _SCALARS:
            try:
                node.value.encode()
                return _SCALARS[node.tag.removeprefix(_TAG)](node.value)
            except (ValueError, KeyError):
                kind = node.tag.removeprefix(_TAG)
                raise self._error(line, f"{shorten(node.value)} is not a valid {kind}") from None
        raise self._error(line, f"the tag {node.tag!r} is not allowed here; write plain values")

    def _mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        first_lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != _TAG + "str":
                raise self._error(line, f"a key must be a string, not {shorten(key_node.value)}")
            key = self._build(key_node, "", depth)
            if len(key) > MAX_KEY:
                raise self._error(line, f"a key of {len(key)} characters")
            if key in mapping:
                raise self._error(line, f"the key {key!r} stands here and on line {first_lines[key]}")
            first_lines[key] = line
            self.lines[_join(path, key)] = line
            mapping[key] = self._build(value_node, _join(path, key), depth + 1)
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
