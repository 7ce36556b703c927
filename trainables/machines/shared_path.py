"""A study folder that is a path must be the same folder on every node: each one is asked, before the first trial.

Nodes that join later look for themselves (:mod:`trainables.machines.seen_folders`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from minbert.errors import UserError
from minbert.files.leftovers import beside
from trainables.machines.connection import RayFailed, in_one_line
from trainables.machines.seen_folders import APPEARING_SECONDS, unseen
from trainables.studies.study import SEEN, TOKEN

_LOOK_SECONDS = 0.5


def refuse_unshared(folders: dict[str, Path], asked_to_end: Callable[[], bool] = lambda: False) -> None:
    """Ask every node of the cluster that Ray is connected to whether it sees our folders; a single one is not asked.

    Args:
        folders: by the option that names each; they are there, and may be written.
        asked_to_end: whether the user does not want to wait for the answers.

    Raises:
        KeyboardInterrupt: the user does not.
        UserError: a node does not see one.
        RayFailed: a node that is there cannot look.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if not folders or len(nodes) < 2:
        return
    with tokens_in(folders) as tokens:
        missing = _missing(nodes, list(tokens.values()), asked_to_end)
    for option, token in tokens.items():
        for node, paths in missing:
            if token in paths:
                raise UserError(
                    f"{option} {Path(token).parent}: node {node} does not see this folder, where its trials would write; name one that "
                    "all nodes mount at the same path, or a URL such as s3://bucket/folder"
                )


@contextmanager
def tokens_in(folders: dict[str, Path]) -> Iterator[dict[str, str]]:
    """Keep a file in each folder, by which others know it for ours; yields their paths.

    Args:
        folders: by the option that names each; they are there, and may be written.
    """
    tokens = {option: beside(folder.absolute() / SEEN, TOKEN) for option, folder in folders.items()}
    try:
        for token in tokens.values():
            token.touch()
        yield {option: str(token) for option, token in tokens.items()}
    finally:
        for token in tokens.values():
            with suppress(OSError):  # storage that is away has ended the search
                token.unlink()


def _missing(
    nodes: Sequence[dict[str, str]], paths: list[str], asked_to_end: Callable[[], bool]
) -> list[tuple[str, list[str]]]:
    """The paths that each node does not see, by its name; one that is lost meanwhile does not count."""
    asked = {}
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        task: Any = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(unseen)  # type: ignore[call-overload]
        asked[task.remote(paths, APPEARING_SECONDS)] = node.get("NodeManagerHostname") or node["NodeID"]
    while len(ray.wait(list(asked), num_returns=len(asked), timeout=_LOOK_SECONDS)[0]) < len(asked):
        if asked_to_end():
            raise KeyboardInterrupt
    missing = []
    for answer, node_name in asked.items():
        try:
            missing.append((node_name, ray.get(answer)))
        except ray.exceptions.RayTaskError as error:
            reason = in_one_line(getattr(error, "cause", None) or error)
            raise RayFailed(f"node {node_name} cannot run the program: {reason}") from None
        except ray.exceptions.RayError:  # it is lost
            continue
    return missing
