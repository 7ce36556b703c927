"""Checks of what a cluster file copies to its machines: what is mounted, and what is left out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from minbert.files.yaml_dialect import join, shorten
from trainables.machines.cluster_file import AWS, ClusterFile, Finding

_PROJECT = ("pyproject.toml", "constraints.txt")
_LEFT_OUT = (".git", ".venv", "data", "results")
"""What lies in the project's folder here and is large, private, or made for this machine."""

_NO_KEYS = frozenset({"authorized_keys", "config", "known_hosts"})
"""Files of SSH that hold no private key."""


def check_mounts(file: ClusterFile) -> Iterator[Finding]:
    """Whether what is copied is there, the project among it, and installed as constraints.txt says."""
    folders: list[str] = []
    mounts = file.mapping("file_mounts")
    for target, source in mounts.items():
        path = join("file_mounts", target)
        if not isinstance(source, str):
            yield Finding(path, f"{shorten(source)} is not allowed: it must be a path here")
            continue
        folders.append(os.path.expanduser(source))
        if reason := _secret(file, folders[-1]):
            yield Finding(path, f"{shorten(source)} is not allowed: {reason}")
        elif not os.path.exists(folders[-1]):
            yield Finding(path, f"{shorten(source)}: there is no such file or folder here")
        elif not target.startswith(("/", "~/")):
            yield Finding(path, f"the place on the machines must begin with / or ~/, not {shorten(target)}")
        elif (stumbling := _unreadable(folders[-1])) is not None:
            text = f"{shorten(stumbling)} cannot be read as a file, and Ray reads all of a mount: remove it"
            yield Finding(path, text)
    all_there = len(folders) == len(mounts) and all(os.path.exists(folder) for folder in folders)
    if all_there and not any(_is_project(folder) for folder in folders):
        yield Finding(
            "file_mounts", f"nothing brings the project: mount the folder with {' and '.join(_PROJECT)}"
        )


def _secret(file: ClusterFile, source: str) -> str | None:
    """Why something has to stay here; machines of one's own have no role that brings keys for a bucket."""
    try:
        places = (Path(os.path.abspath(source)), Path(os.path.realpath(source)))
    except ValueError:  # no path, so not there
        return None
    for place in places:
        if ".aws" in place.parts and file.kind == AWS:
            return "it may hold keys of your account; the machines' role does without"
        if ".ssh" in place.parts and place.suffix != ".pub" and place.name not in _NO_KEYS:
            return "it may hold private keys, which the machines do not need"
    return None


def project_mounts(file: ClusterFile) -> dict[str, str]:
    """Folders here that hold the project, by their place on the machines."""
    mounts = {
        target: os.path.expanduser(source)
        for target, source in file.mapping("file_mounts").items()
        if isinstance(source, str)
    }
    return {target: folder for target, folder in mounts.items() if _is_project(folder)}


def check_left_out(file: ClusterFile) -> Iterator[Finding]:
    """Whether the project goes to the machines without what is large, private, or made for this machine."""
    excluded = {_plain(text) for _, text in file.texts("rsync_exclude")}
    if any(text == ".gitignore" for _, text in file.texts("rsync_filter")):
        excluded |= set(_LEFT_OUT) - {".git"}
    missing = [f"/{name}" for name in _LEFT_OUT if name not in excluded]
    if missing and project_mounts(file):
        text = f"lacks {', '.join(missing)}: every machine would get a copy of what lies there"
        yield Finding("rsync_exclude", text)


def _plain(pattern: str) -> str:
    """A pattern of rsync's without its marks for folders."""
    return pattern.removeprefix("**").removeprefix("/").removesuffix("**").removesuffix("*").removesuffix("/")


def _is_project(folder: str) -> bool:
    return all(os.path.isfile(os.path.join(folder, name)) for name in _PROJECT)


def _unreadable(source: str) -> str | None:
    """The first thing there that is a socket, a pipe, a link to nowhere, or not for us to read."""
    if not os.path.isdir(source):
        return None if _is_readable(source) else source
    below = (
        os.path.normpath(os.path.join(folder, name))
        for folder, _, names in os.walk(source)
        for name in sorted(names)
    )
    return next((path for path in below if not _is_readable(path)), None)


def _is_readable(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.R_OK)
