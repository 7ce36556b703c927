"""Who runs what in a cluster: the head, the workers, and node types with commands or containers of their own."""

from __future__ import annotations

from dataclasses import dataclass

from minbert.files.yaml_dialect import join
from trainables.machines.cluster_file import ClusterFile, as_mapping

Texts = tuple[tuple[str, str], ...]
"""Path and text of each."""


@dataclass(frozen=True)
class Role:
    """Machines that are set up alike.

    Attributes:
        name: ``head``, ``worker``, or that of a node type with something of its own.
        is_head: and no worker.
        node_types: that it is of; machines of one's own have none.
        options: of the container.
        setups: commands that set it up.
        setups_place: where commands for it belong.
        starts: commands that start Ray there.
        image: of the container.
        image_place: where that stands.
    """

    name: str
    is_head: bool
    node_types: tuple[str, ...]
    options: Texts
    setups: Texts
    setups_place: str
    starts: Texts
    image: object
    image_place: str


def roles(file: ClusterFile) -> tuple[Role, ...]:
    """Of a file: the head first."""
    workers = [name for name in file.node_types if name != file.head_type]
    alone = [name for name in workers if {"docker", "worker_setup_commands"} & set(file.node_types[name])]
    alike = tuple(name for name in workers if name not in alone)
    shared = [_shared(file, "head", (file.head_type,))]
    if alike or not alone:
        shared.append(_shared(file, "worker", alike))
    return (*shared, *(_alone(file, name) for name in alone))


def _shared(file: ClusterFile, name: str, node_types: tuple[str, ...]) -> Role:
    docker = file.mapping("docker")
    key = f"{name}_image" if docker.get(f"{name}_image") else "image"
    return Role(
        name,
        name == "head",
        node_types,
        tuple(file.texts("docker.run_options", f"docker.{name}_run_options")) if file.in_container else (),
        tuple(file.texts("setup_commands", f"{name}_setup_commands")),
        "setup_commands",
        tuple(file.texts(f"{name}_start_ray_commands")),
        docker.get(key),
        f"docker.{key}",
    )


def _alone(file: ClusterFile, name: str) -> Role:
    """Ray takes what a node type says in place of what the file says for all workers."""
    shared = _shared(file, "worker", (name,))
    node, place = file.node_types[name], f"available_node_types.{name}"
    docker = as_mapping(node.get("docker"))
    options, setups, setups_place = shared.options, shared.setups, shared.setups_place
    if file.in_container and "worker_run_options" in docker:
        own = _listed(docker["worker_run_options"], f"{place}.docker.worker_run_options")
        options = (*file.texts("docker.run_options"), *own)
    if "worker_setup_commands" in node:
        setups_place = f"{place}.worker_setup_commands"
        setups = _listed(node["worker_setup_commands"], setups_place)
    has_image = bool(docker.get("worker_image"))
    image = docker["worker_image"] if has_image else shared.image
    image_place = f"{place}.docker.worker_image" if has_image else shared.image_place
    return Role(name, False, (name,), options, setups, setups_place, shared.starts, image, image_place)


def _listed(texts: object, place: str) -> Texts:
    given = texts if isinstance(texts, list) else ()
    return tuple((join(place, str(at)), text) for at, text in enumerate(given) if isinstance(text, str))
