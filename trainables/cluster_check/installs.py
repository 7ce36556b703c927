"""Checks of what a cluster's commands install: the project, in the versions of constraints.txt, and nothing unpinned."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from minbert.files.yaml_dialect import shorten
from trainables.cluster_check.mounts import project_mounts
from trainables.cluster_check.roles import Role, roles
from trainables.cluster_check.shell import commands_of
from trainables.machines.cluster_file import AWS, ClusterFile, Finding

_LOCK = "constraints.txt"
_PIP = re.compile(r"(.*/)?(pip[0-9.]*|uv)")
_TAKES_VALUE = frozenset((
    "-i", "--index-url", "--extra-index-url", "-f", "--find-links", "-t", "--target", "--prefix", "--root",
    "--cache-dir", "--upgrade-strategy", "--timeout", "--retries", "--only-binary", "--no-binary", "--python",
))  # fmt: skip
_CONSTRAINT, _REQUIREMENT, _EDITABLE = ("-c", "--constraint"), ("-r", "--requirement"), ("-e", "--editable")
_NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(\[[^]]*])?\s*(.*)", re.DOTALL)
_COMMIT = re.compile(r"@[0-9a-f]{7,40}($|[#&])|\.(whl|tar\.gz)($|#)")


@dataclass(frozen=True)
class Install:
    """One command of pip's.

    Attributes:
        wanted: packages, folders and URLs.
        constraints: files with versions.
        from_files: whether a file says what else is wanted.
    """

    wanted: tuple[str, ...]
    constraints: tuple[str, ...]
    from_files: bool

    @property
    def brings_project(self) -> bool:
        return any(_is_folder(each) for each in self.wanted)


def check_installs(file: ClusterFile) -> Iterator[Finding]:
    """Whether every machine gets the project, the head what it asks AWS with, and all of it pinned."""
    for role in roles(file):
        found = [(path, install) for path, text in role.setups for install in _installs(text)]
        for path, install in found:
            if install.wanted and (reason := _unpinned(file, install)):
                yield Finding(path, reason)
        if not any(install.brings_project for _, install in found):
            text = (
                f"nothing installs the project as {_LOCK} says: pip install --constraint {_LOCK} --editable ."
            )
            yield Finding(role.setups_place, text)
        elif role.is_head and file.kind == AWS and not _brings(found, "boto3"):
            yield Finding("head_setup_commands", _no_boto3(role))


def _no_boto3(role: Role) -> str:
    return (
        f"nothing installs boto3 on the {role.name}, with which Ray asks AWS for workers: pip install --constraint "
        f"{_LOCK} boto3"
    )


def _brings(found: Sequence[tuple[str, Install]], name: str) -> bool:
    return any(_normal(_parts(each)[0]) == name for _, install in found for each in install.wanted)


def _installs(text: str) -> Iterator[Install]:
    for command in commands_of(text):
        words = command.words
        at = next((at for at, word in enumerate(words) if word == "install"), None)
        if at and any(_PIP.fullmatch(word) for word in words[:at]):
            given = [word.partition("=")[2] for word in words[:at] if word.startswith("PIP_CONSTRAINT=")]
            yield _install(words[at + 1 :], given)


def _install(words: Sequence[str], constraints: list[str]) -> Install:
    wanted: list[str] = []
    from_files, option = False, ""
    for word in (part for given in words for part in _split(given)):
        if option in _CONSTRAINT:
            constraints.append(word)
        elif option in _REQUIREMENT:
            from_files = True
        elif option in _EDITABLE or (not option and not word.startswith("-")):
            wanted.append(word)
        takes_value = word in (*_CONSTRAINT, *_REQUIREMENT, *_EDITABLE) or word in _TAKES_VALUE
        option = word if takes_value and not option else ""
    return Install(tuple(wanted), tuple(constraints), from_files)


def _split(word: str) -> Sequence[str]:
    """``--option=value`` as the two words that it stands for."""
    option, equals, value = word.partition("=")
    return (option, value) if equals and word.startswith("--") else (word,)


def _unpinned(file: ClusterFile, install: Install) -> str | None:
    """What of an installation may be another version tomorrow, or is another one than the lock file's."""
    lock = _versions(file, (_LOCK,)) or {}
    pinned = _versions(file, install.constraints)
    for each in install.wanted:
        name, version = _parts(each)
        locked = lock.get(_normal(name))
        if version:
            if locked not in (None, version):
                return f"{shorten(each)} is not allowed: {_LOCK} says {locked}"
        elif "://" in each:
            if not _COMMIT.search(each):
                return f"{shorten(each)} is not pinned: name a commit, or a file with its version"
        elif not install.constraints and not (install.from_files and _is_folder(each)):
            return f"installs unpinned versions: add --constraint {_LOCK}"
        elif name and pinned is not None and _normal(name) not in pinned:
            return f"{shorten(each)} is not pinned: it stands in none of the named constraints; write {name}==VERSION"
    return None


def _versions(file: ClusterFile, names: Sequence[str]) -> Mapping[str, str] | None:
    """Versions by package that files of the project name; None where one cannot be read here."""
    found: dict[str, str] = {}
    for name in names:
        text = _read(project_mounts(file), name)
        if text is None:
            return None
        pins = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*])?==([^\s;]+)", text, re.MULTILINE)
        found |= {_normal(package): version for package, version in pins}
    return found


def _read(projects: Mapping[str, str], name: str) -> str | None:
    for target, folder in projects.items():
        here = os.path.join(
            folder, name.removeprefix(target).lstrip("/") if name.startswith(target) else name
        )
        try:
            with open(here, encoding="utf-8") as stream:
                return stream.read()
        except (OSError, ValueError):
            continue
    return None


def _parts(wanted: str) -> tuple[str, str]:
    """Name and exact version of a package; each empty where there is none."""
    match = None if _is_folder(wanted) or "://" in wanted else _NAME.fullmatch(wanted)
    if match is None:
        return "", ""
    exact = re.fullmatch(r"===?\s*([^\s,;*]+)\s*(;.*)?", match[3])
    return match[1], exact[1] if exact else ""


def _is_folder(wanted: str) -> bool:
    return wanted.startswith((".", "/", "~", "$", "file:"))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
