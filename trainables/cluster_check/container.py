"""Checks of the container that a cluster's commands run in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version

from minbert.files.yaml_dialect import shorten
from trainables.machines.cluster_file import ClusterFile, Finding

_OLDEST_PYTHON = 311


def check_container(file: ClusterFile) -> Iterator[Finding]:
    """What is wrong with image and name."""
    docker = file.mapping("docker")
    if not file.in_container:
        return
    if not docker.get("container_name"):
        yield Finding("docker.container_name", "is missing: Ray needs a name for the container")
    if not docker.get("image"):
        for key in ("head_image", "worker_image"):
            if not docker.get(key):
                yield Finding(f"docker.{key}", "is missing: Ray needs an image for the head and for workers")
    for key in ("image", "head_image", "worker_image"):
        image = docker.get(key)
        if image and isinstance(image, str) and (reason := _refusal(image)):
            yield Finding(f"docker.{key}", f"{shorten(image)}: {reason}")


def _refusal(image: str) -> str | None:
    name, _, digest = image.partition("@")
    if digest:
        return None if re.fullmatch(r"sha256:[0-9a-f]{64}", digest) else "a digest is sha256: and 64 digits"
    repository, tag = re.fullmatch(r"(.*?)(?::([^:/]*))?", name, re.DOTALL).groups()  # type: ignore[union-attr]
    ray = version("ray")
    example = f"rayproject/ray:{ray}-py{_OLDEST_PYTHON}-gpu"
    if not tag or tag.split("-")[0] in ("latest", "nightly"):
        return f"is not pinned: name a version, for example {example}"
    if repository.rpartition("/")[0].endswith("rayproject"):
        if tag.split("-")[0] != ray:
            return f"its Ray is not the {ray} that starts it and that constraints.txt names; take {example}"
        python = re.search(r"-py([0-9]+)", tag)
        if python is None or int(python[1][:4]) < _OLDEST_PYTHON:
            return f"its Python is older than 3.11; take {example}"
    return None
