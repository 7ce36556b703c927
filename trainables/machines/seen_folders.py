"""Folders that must be the same on every node, as a node sees them that is about to run its first trial."""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path

from ray.util import get_node_ip_address

UNSHARED = "unshared"
"""Cause of a trial that was sent to a node with other folders than the search's."""
APPEARING_SECONDS = 5.0  # network file systems show a new file a little later


class Unshared(Exception):
    """This node has another folder, or none, at the path of one that all nodes share."""


@functools.cache  # a worker that has seen them once goes on
def refuse_unseen(tokens: tuple[tuple[str, str], ...], seconds: float = APPEARING_SECONDS) -> None:
    """Refuse to begin a trial where its folders are not those of the search.

    Args:
        tokens: files that the search keeps in its folders, each with the option that names the folder.
        seconds: that they may take to appear.

    Raises:
        Unshared: one of them is not there, or cannot be seen.
    """
    missing = unseen([token for _, token in tokens], seconds)
    for option, token in tokens:
        if token in missing:
            raise Unshared(
                f"{option} {Path(token).parent} is not the same folder on {get_node_ip_address()} as where the search runs, or does not answer there"
            )


def unseen(paths: list[str], seconds: float) -> list[str]:
    """Those of the paths that are not there, or cannot be seen, even a while later."""
    late = time.monotonic() + seconds
    while (missing := [path for path in paths if _is_missing(path)]) and time.monotonic() < late:
        time.sleep(0.2)
    return missing


def _is_missing(path: str) -> bool:
    """Whether a node does not see a path, also as a mount went stale; storage that is away for all, the search itself notices."""
    try:
        os.stat(path)
    except OSError:
        return True
    return False
