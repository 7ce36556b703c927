"""Checks of where a cluster's data and results lie: in a bucket, or in a folder that all machines mount."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from minbert.errors import UserError
from minbert.files.yaml_dialect import shorten
from minbert.remote.urls import below, check_url, is_url
from trainables.cluster_check.roles import Role, roles
from trainables.cluster_check.settings import lasting
from trainables.machines.cluster_file import AWS, LOCAL, ClusterFile, Finding

_NOT_MOUNTED = {
    AWS: "no initialization or setup command mounts it, so that every node would have a folder of its own",
    LOCAL: "no setup command asks `mountpoint -q` whether it is there, so that a machine could have a folder of its own",
}
PLACEHOLDER = "YOUR-BUCKET"
"""Stands for a bucket in the project's own file; in capitals, so that nobody's bucket has the name."""
_BUCKET = re.compile(r"(?=.{3,63}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_ADDRESS = re.compile(r"[0-9]+(\.[0-9]+){3}")
_RESERVED = re.compile(r"xn--.*|sthree-.*|amzn-s3-demo-.*|.*(-s3alias|--ol-s3|\.mrap|--x-s3|--table-s3)")
_FLEETING = ("/tmp", "/var/tmp", "/dev/shm", "/run")
"""Never shared, and emptied when a machine starts."""


def check_storage(file: ClusterFile) -> Iterator[Finding]:
    """Whether every node finds what the study keeps, and the search its data."""
    settings = lasting(roles(file)[0])
    results, data = settings.get("MINBERT_RESULTS"), settings.get("MINBERT_DATA")
    refusal = _results_refusal(file, results.value) if results else None
    if results and refusal:
        said = "…" if "@" in results.value else results.value  # whatever stands before an @ may be a secret
        yield Finding(results.path, f"MINBERT_RESULTS={said}: {refusal}")
    workers_read_data = results is not None and refusal is None and not is_url(results.value)
    if data and (refusal := _data_refusal(file, data.value, workers_read_data)):
        yield Finding(data.path, f"MINBERT_DATA={data.value}: {refusal}")


def _results_refusal(file: ClusterFile, value: str) -> str | None:
    if is_url(value):
        return _url_refusal(file, value)
    if not value.startswith("/"):
        return "is not allowed: s3://bucket/folder is, or an absolute path, the same on every node"
    return _folder_refusal(file, value)


def _url_refusal(file: ClusterFile, value: str) -> str | None:
    try:
        url = urlsplit(value)
        check_url(value, below(value, "study"))
    except UserError as error:
        return str(error).removeprefix(f"{value}: ")
    except ValueError as error:  # such as half an address in brackets
        return f"{error}; s3://bucket/folder is possible"
    return _bucket_refusal(url.netloc) if url.scheme == "s3" else _folder_refusal(file, url.path)


def _bucket_refusal(name: str) -> str | None:
    if name == PLACEHOLDER:
        return f"put the name of your bucket in place of {PLACEHOLDER} (aws s3 mb s3://NAME makes one)"
    if not _BUCKET.fullmatch(name):
        allowed = "3 to 63 small letters, digits, hyphens and single dots are, between letters or digits"
        return f"{shorten(name)} is not allowed as the name of a bucket: {allowed}"
    if _ADDRESS.fullmatch(name) or _RESERVED.fullmatch(name):
        why = "it looks like an address" if _ADDRESS.fullmatch(name) else "S3 keeps such names for itself"
        return f"{shorten(name)} is not allowed as the name of a bucket: {why}"
    return None


def _data_refusal(file: ClusterFile, value: str, workers_read_it: bool) -> str | None:
    if is_url(value):
        return "the search reads its data from a folder, and from no URL"
    return None if value.startswith("/") and not workers_read_it else _folder_refusal(file, value)


def _folder_refusal(file: ClusterFile, value: str) -> str | None:
    if not value.startswith("/"):
        return "is not allowed: an absolute path is, the same on every node"
    folder = PurePosixPath(os.path.normpath(value))
    if _is_below(folder, _FLEETING):
        return "is not allowed: a machine empties that folder when it starts, and shares it with none"
    if any(not _is_below(folder, _mount_points(file, role)) for role in roles(file)):
        return _NOT_MOUNTED[file.kind]
    if file.in_container and any(not _is_below(folder, _volumes(role)) for role in roles(file)):
        return "the container does not see it: add --volume to docker.run_options"
    return None


def _mount_points(file: ClusterFile, role: Role) -> set[str]:
    """Folders that a command mounts, or without which it fails."""
    places = set[str]()
    for _, text in (*file.texts("initialization_commands"), *role.setups):
        if re.search(r"\b(s?mount|mount\.\w+|mountpoint)\s", text):
            places |= set(re.findall(r"(?<![\w:./~])/[\w./-]+", text))
    return places


def _volumes(role: Role) -> set[str]:
    options = " ".join(text for _, text in role.options)
    return set(re.findall(r"(?:--volume|-v)[= ]\s*[^\s:]+:([^\s:]+)", options))


def _is_below(folder: PurePosixPath, places: Iterable[str]) -> bool:
    return any(folder.is_relative_to(place) for place in places)
