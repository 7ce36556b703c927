"""A stage store that several processes fill, read and clear at once: nobody fails, and nothing is left half done."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from minbert.files.leftovers import clear_abandoned
from minbert.stages import LocalStageStore, StageState

SECONDS = 2.0


def publish(store: LocalStageStore, number: int) -> bool:
    store.put(f"key{number}", StageState({"w": torch.full((20000,), number)}, {}, 1, 1.0, {}))
    return True


def take(store: LocalStageStore, number: int) -> bool:
    state = store.get(f"key{number}")
    assert state is None or bool((state.weights["w"] == number).all())
    return state is not None


def collect(store: LocalStageStore, number: int) -> bool:
    clear_abandoned(store.folder)
    return store.collect(0) > 0


def work(folder: Path, role: Callable[[LocalStageStore, int], bool]) -> int:
    """How often a process came to something within the time."""
    store, begin, number, found = LocalStageStore(folder), time.monotonic(), 0, 0
    while time.monotonic() < begin + SECONDS:
        number += 1
        found += role(store, number % 5)
    return found


def test_publishers_readers_and_collectors_of_one_store_never_fail(tmp_path: Path) -> None:
    roles = [publish, publish, take, collect, collect]
    with ProcessPoolExecutor(len(roles), multiprocessing.get_context("fork")) as processes:
        found = list(processes.map(work, [tmp_path] * len(roles), roles))
    assert all(count > 0 for count in found)
    assert not list(tmp_path.glob(".*"))
    LocalStageStore(tmp_path).collect(0)
    assert not list(tmp_path.iterdir())


def test_an_entry_whose_files_vanish_while_they_are_counted_is_no_error(tmp_path: Path) -> None:
    store = LocalStageStore(tmp_path)
    for number in range(2):
        publish(store, number)
    (tmp_path / "key0" / "vanished").symlink_to("nowhere")
    assert store.collect(0) == 1
    assert store.has("key0") and not store.has("key1")
