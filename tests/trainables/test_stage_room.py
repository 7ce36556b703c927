"""A study's stages keep to their room, without taking any from under a running trial."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from optuna.trial import create_trial

from minbert.stage_chain import stage_ends
from minbert.stages import LocalStageStore, StageState
from tests.trainables.test_single_flight import issue, trial
from trainables.studies.stage_room import StageRoom

STATE = StageState({"weight": torch.zeros(64)}, {}, 1, 1.0, {})


def stored(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_a_running_trial_needs_stays_until_it_is_past_it(tmp_path: Path) -> None:
    store = LocalStageStore(tmp_path)
    (needed,) = [end.key for end in stage_ends(trial(simcse=1))]
    for hours, key in enumerate((needed, "other")):
        store.put(key, STATE)
        os.utime(tmp_path / key / "manifest.json", (hours * 3600, hours * 3600))
    room = StageRoom(store, 0.0)
    running, other = issue(0, trial(simcse=1)), issue(1, trial(simcse=0))
    room.issued(running)
    room.issued(other)
    room.ended(other, create_trial(value=0.5))
    assert stored(tmp_path) == {needed}
    room.reported(running, {"stage": "simcse", "epoch": 1})
    assert stored(tmp_path) == {needed}
    room.reported(running, {"stage": "finetune", "epoch": 1, "final_stage": True})
    assert stored(tmp_path) == set()


def test_what_a_waiting_trial_waits_for_stays(tmp_path: Path) -> None:
    store = LocalStageStore(tmp_path)
    (needed,) = [end.key for end in stage_ends(trial(simcse=1))]
    room = StageRoom(store, 0.0)
    maker, waiting = issue(0, trial(simcse=1)), issue(1, trial(simcse=1, rate=2e-5))
    room.issued(maker)
    room.waits(waiting)
    store.put(needed, STATE)
    room.ended(maker, create_trial(value=0.5))
    assert stored(tmp_path) == {needed}


class Counting(LocalStageStore):
    """A store that counts how often all of it is looked at."""

    looks = 0

    def sizes(self) -> dict[str, int]:
        self.looks += 1
        return super().sizes()


def test_a_store_that_fills_is_looked_through_when_it_is_full_and_not_for_every_trial(tmp_path: Path) -> None:
    store, longest = Counting(tmp_path), 0
    (first,) = [end.key for end in stage_ends(trial(simcse=1, seed=100))]
    store.put(first, STATE)
    room = StageRoom(store, 20.5 * store.size(first))
    for number in range(60):
        maker = issue(number, trial(simcse=1, seed=number))
        room.issued(maker)
        (made,) = [end.key for end in stage_ends(maker.config)]
        store.put(made, STATE)
        room.ended(maker, create_trial(value=0.5))
        longest = max(longest, len(stored(tmp_path)))
    assert longest == 20
    assert store.looks <= 60 / 2


def test_what_fits_stays(tmp_path: Path) -> None:
    store = LocalStageStore(tmp_path)
    store.put("key", STATE)
    room = StageRoom(store, 1e6)
    room.issued(issue(0, trial()))
    room.ended(issue(0, trial()), create_trial(value=0.5))
    assert stored(tmp_path) == {"key"}
