"""Checks of where a cluster's data and results lie: in a bucket, or in a folder that all machines mount."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from minbert.errors import UserError
from minbert.files.yaml_dialect import shorten
from minbert.remote.urls import below, check_url, is_url
from trainables.machines.cluster_file import AWS, ClusterFile, Finding

PLACEHOLDER = "YOUR-BUCKET"
"""Stands for a bucket in the project's own file; in capitals, so that nobody's bucket has the name."""
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def check_storage(file: ClusterFile) -> Iterator[Finding]:
    """Whether every node finds what the study keeps, and the search its data."""
    settings = file.environment("head")
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
        allowed = "3 to 63 small letters, digits, hyphens and dots are"
        return f"{shorten(name)} is not allowed as the name of a bucket: {allowed}"
    return None


def _data_refusal(file: ClusterFile, value: str, workers_read_it: bool) -> str | None:
    if is_url(value):
        return "the search reads its data from a folder, and from no URL"
    return None if value.startswith("/") and not workers_read_it else _folder_refusal(file, value)


def _folder_refusal(file: ClusterFile, value: str) -> str | None:
    if not value.startswith("/"):
        return "is not allowed: an absolute path is, the same on every node"
    folder = PurePosixPath(value)
    if file.kind == AWS and not _is_below(folder, _mount_points(file)):
        return (
            "no initialization or setup command mounts it, so that every node would have a folder of its own"
        )
    if file.in_container and not _is_below(folder, _volumes(file)):
        return "the container does not see it: add --volume to docker.run_options"
    return None


def _mount_points(file: ClusterFile) -> set[str]:
    commands = file.texts("initialization_commands", "setup_commands")
    return {
        place
        for _, text in commands
        if re.search(r"\b(s?mount|mount\.\w+)\s", text)
        for place in re.findall(r"(?<![\w:./~])/[\w./-]+", text)
    }


def _volumes(file: ClusterFile) -> set[str]:
    options = " ".join(text for _, text in file.texts("docker.run_options", "docker.head_run_options"))
    return set(re.findall(r"(?:--volume|-v)[= ]\s*[^\s:]+:([^\s:]+)", options))


def _is_below(folder: PurePosixPath, places: set[str]) -> bool:
    return any(folder.is_relative_to(place) for place in places)
