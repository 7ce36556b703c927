"""A file for Ray's cluster launcher, read without trusting any of its types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from minbert.errors import UserError
from minbert.files.yaml_dialect import Document, join, read_yaml

LOCAL, AWS = "local", "aws"
_RAYS_MOST = 2  # workers, where a file does not say it


@dataclass(frozen=True)
class Finding:
    """What is wrong at one dotted path of the file."""

    path: str
    text: str


class ClusterFile:
    """What the file says; whatever is not of the type it should be reads as absent (Ray's schema names it).

    Args:
        path: of the file.

    Raises:
        UserError: the file cannot be read, or is not YAML of one mapping.
    """

    def __init__(self, path: Path) -> None:
        self.document: Document = read_yaml(path)
        self.data = self.document.data

    def line(self, finding: Finding) -> str:
        """One line for people: file, line, path, and what is wrong."""
        return str(UserError(f"{self.document.where(finding.path)}: {finding.path}: {finding.text}"))

    def mapping(self, key: str) -> dict[str, Any]:
        """A section; empty when it is absent or no mapping."""
        return as_mapping(self.data.get(key))

    @cached_property
    def kind(self) -> str:
        """The provider's type."""
        return str(self.mapping("provider").get("type"))

    @cached_property
    def in_container(self) -> bool:
        docker = self.mapping("docker")
        return any(docker.get(key) for key in ("image", "head_image", "worker_image"))

    @cached_property
    def node_types(self) -> dict[str, dict[str, Any]]:
        """Node types by name."""
        found = self.mapping("available_node_types")
        return {name: value for name, value in found.items() if isinstance(value, dict)}

    @cached_property
    def head_type(self) -> str:
        return str(self.data.get("head_node_type"))

    @cached_property
    def most_workers(self) -> int:
        """How many workers there may be at once, of whatever type."""
        return whole(self.data.get("max_workers", _RAYS_MOST)) or 0

    def most_of(self, node: Mapping[str, Any]) -> int:
        """How many workers of a type there may be at once."""
        return (whole(node["max_workers"]) or 0) if "max_workers" in node else self.most_workers

    @cached_property
    def most_listed(self) -> int:
        """How many machines join, the head among them, of those that the file lists by address; 0 where it lists none."""
        workers = self.mapping("provider").get("worker_ips")
        if not isinstance(workers, list):
            return 0
        return 1 + min(len(workers), whole(self.data.get("max_workers", len(workers))) or 0)

    def texts(self, *dotted: str) -> Iterator[tuple[str, str]]:
        """The texts of lists such as ``docker.run_options``: path and text."""
        for path in dotted:
            *sections, key = path.split(".")
            inner: Any = self.data
            for section in sections:
                inner = as_mapping(inner.get(section))
            given = inner.get(key)
            for at, text in enumerate(given if isinstance(given, list) else ()):
                if isinstance(text, str):
                    yield join(path, str(at)), text

    @cached_property
    def settings_place(self) -> str:
        """Where an environment variable for all nodes would be set."""
        return "docker.run_options" if self.in_container else "setup_commands"


def as_mapping(value: object) -> dict[str, Any]:
    """The value where it is a mapping, else an empty one: whether it should be is the schema's check."""
    return value if isinstance(value, dict) else {}


def whole(value: object) -> int | None:
    """An integer, also written as 8.0, which Ray's schema takes; None for anything else."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
