"""Environment variables that a cluster file really sets for what runs on its machines.

Ray runs each command in a shell of its own, so an ``export`` in one is gone before the next. What lasts: options of the
container, and lines that a command writes into a file that every shell reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from trainables.cluster_check.roles import Role, Texts
from trainables.cluster_check.shell import Command, at_home, commands_of

_ASSIGNED = re.compile(
    r"(?<![\w$])(?P<name>(?:MINBERT|RAY|HF)_\w+)=(?P<value>'[^']*'|\"[^\"]*\"|[^\s'\";&|]*)"
)
_READ_BY_SHELLS = frozenset(
    {"~/.bashrc", "~/.bash_profile", "~/.profile", "/etc/environment", "/etc/profile"}
)
_SOURCES = re.compile(r"(?:^|[\s;&])(?:\.|source)\s+([^\s;&|]+)")


@dataclass(frozen=True)
class Setting:
    """The value that an environment variable has, and the path of what gives it."""

    value: str
    path: str


def lasting(role: Role) -> dict[str, Setting]:
    """What every command there finds set; the last one counts."""
    return dict((*_of_container(role.options), *_of_files(role.setups)))


def starting(role: Role) -> dict[str, Setting]:
    """What Ray finds set there when it is started."""
    return lasting(role) | dict(_of_starts(role.starts))


def in_vain(role: Role, name: str) -> str:
    """For the end of a message: where the file sets it in a way that does not last; or nothing."""
    for path, text in (*role.options, *role.setups, *role.starts):
        if any(found["name"] == name for found in _ASSIGNED.finditer(text)):
            return f"; {path} sets it for none but itself"
    return ""


def _of_container(options: Texts) -> Iterator[tuple[str, Setting]]:
    commands = ((command, path) for path, text in options for command in commands_of(text))
    words = [(word, path) for command, path in commands for word in command.words]
    for at, (word, path) in enumerate(words):
        before = words[at - 1][0] if at else ""
        given = word if before in ("--env", "-e") else re.sub(r"^(--env=|-e(?!nv))", "", word)
        if given != word or before in ("--env", "-e"):
            yield from _assigned([given], path)


def _of_files(setups: Texts) -> Iterator[tuple[str, Setting]]:
    commands = [(path, command) for path, text in setups for command in commands_of(text)]
    read = set(_READ_BY_SHELLS)
    read |= {
        at_home(source)
        for _, command in commands
        if read & set(command.files)
        for word in command.words
        for source in _SOURCES.findall(word)
    }
    for path, command in commands:
        is_read = any(name in read or name.startswith("/etc/profile.d/") for name in command.files)
        exports = "/etc/environment" in command.files or any("export" in word for word in command.words)
        if is_read and exports:
            yield from _assigned(command.words, path)


def _of_starts(starts: Texts) -> Iterator[tuple[str, Setting]]:
    for path, text in starts:
        exported: list[str] = []
        for command in commands_of(text):
            if command.words[0] == "export":
                exported += command.words
            elif (at := ray_start(command)) is not None:
                yield from _assigned([*exported, *command.words[:at]], path)


def ray_start(command: Command) -> int | None:
    """Where ``ray start`` begins in a command that is one."""
    words = command.words
    pairs = enumerate(pairwise(words))
    return next((at for at, (one, two) in pairs if one.split("/")[-1] == "ray" and two == "start"), None)


def _assigned(words: Iterable[str], path: str) -> Iterator[tuple[str, Setting]]:
    for word in words:
        for found in _ASSIGNED.finditer(word):
            yield found["name"], Setting(found["value"].strip("'\""), path)
