"""Notices that Ray's own processes on this machine have ended: nobody brings them back, and a search would wait for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_LOOK_SECONDS = 0.5
_NEEDED = ("gcs_server", "raylet")


@contextmanager
def lost_ray_noticed(give_up: Callable[[str], object]) -> Iterator[None]:
    """Watch what this process has started of Ray; of a cluster that it is only connected to, that is nothing.

    Args:
        give_up: is told, in a thread of its own, what has ended, and ends this process: the main thread may wait for
            an answer that never comes, and Ray's own code ends the process seconds later.
    """
    import ray  # noqa: PLC0415 - reads the environment when imported

    node = ray._private.worker._global_node
    started: dict[str, list[Any]] = node.all_processes if node else {}
    needed = {name: started[name][0].process for name in _NEEDED if name in started}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_LOOK_SECONDS):
            for name, process in needed.items():
                code = process.poll()
                if code is not None and not over.is_set():
                    how = f"signal {-code}" if code < 0 else f"exit code {code}"
                    give_up(f"Ray's process {name} on this machine has ended ({how})")
                    return

    watcher = threading.Thread(target=watch, name="lost-ray", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
