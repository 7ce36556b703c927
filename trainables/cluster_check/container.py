"""Checks of the containers that a cluster's commands run in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version

from minbert.files.yaml_dialect import shorten
from trainables.cluster_check.instance_types import INSTANCE_TYPES
from trainables.cluster_check.roles import Role, roles
from trainables.machines.cluster_file import ClusterFile, Finding, as_mapping, whole

_OLDEST_PYTHON = 311
_MOVING = frozenset(("latest", "nightly", "main", "master", "dev", "devel", "edge", "stable", "release"))


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
    yield from _check_images(file)


def _check_images(file: ClusterFile) -> Iterator[Finding]:
    head, *workers = roles(file)
    for role in (head, *workers):
        if not isinstance(role.image, str) or not role.image:
            continue
        reason = _refusal(role.image) or _unfit(file, role, role.image)
        if not reason and isinstance(head.image, str) and _python(role.image) != _python(head.image):
            reason = f"its Python is not the one of the head's image, {shorten(head.image)}: Ray joins only equal ones"
        if reason:
            yield Finding(role.image_place, f"{shorten(role.image)}: {reason}")


def _refusal(image: str) -> str | None:
    name, _, digest = image.partition("@")
    if digest:
        return None if re.fullmatch(r"sha256:[0-9a-f]{64}", digest) else "a digest is sha256: and 64 digits"
    repository, tag = re.fullmatch(r"(.*?)(?::([^:/]*))?", name, re.DOTALL).groups()  # type: ignore[union-attr]
    ray = version("ray")
    example = f"rayproject/ray:{ray}-py{_OLDEST_PYTHON}-gpu"
    if not tag or tag.split("-")[0] in _MOVING or not re.search("[0-9]", tag):
        return f"is not pinned: name a version, for example {example}"
    if _is_rays(repository):
        if tag.split("-")[0] != ray:
            return f"its Ray is not the {ray} that starts it and that constraints.txt names; take {example}"
        python = re.search(r"-py([0-9]+)", tag)
        if python is None or int(python[1][:4]) < _OLDEST_PYTHON:
            return f"its Python is older than 3.11; take {example}"
    return None


def _unfit(file: ClusterFile, role: Role, image: str) -> str | None:
    """Why an image of Ray's does not run on the machines of a role, as far as its tag tells."""
    name, _, tag = image.partition("@")[0].rpartition(":")
    if not _is_rays(name):
        return None
    kinds = [file.node_types[each] for each in role.node_types if each in file.node_types]
    instances = [as_mapping(kind.get("node_config")).get("InstanceType") for kind in kinds]
    known = [INSTANCE_TYPES[each] for each in instances if isinstance(each, str) and each in INSTANCE_TYPES]
    if tag.endswith("-aarch64") and known:
        return f"is for ARM, and the machines are not; take {shorten(image.removesuffix('-aarch64'))}"
    has_gpus = any(whole(as_mapping(kind.get("resources")).get("GPU")) for kind in kinds)
    if not role.is_head and has_gpus and not re.search(r"-(gpu|cu[0-9]+)", tag):
        return f"is without CUDA, and the workers have GPUs; take {name}:{tag.removesuffix('-cpu')}-gpu"
    return None


def _python(image: str) -> str | None:
    """Of an image of Ray's, as its tag tells."""
    name, _, tag = image.partition("@")[0].rpartition(":")
    python = re.search(r"-py([0-9]+)", tag)
    return python[1] if python and _is_rays(name) else None


def _is_rays(repository: str) -> bool:
    return repository.rpartition("/")[0].endswith("rayproject")
