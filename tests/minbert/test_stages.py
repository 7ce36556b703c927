"""The stage store gives back exactly what was published, or nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from minbert.errors import TrainingFailure
from minbert.files.sealed import CHECKSUMS, seal_folder, sealed_line
from minbert.stages import LocalStageStore, StageState, prefixed, split_prefixed

STATE = StageState(
    weights={"encoder.w": torch.tensor([[1.0, -2.5]])},
    moments={"exp_avg:encoder.w": torch.tensor([[0.5, 1e-30]]), "step:encoder.w": torch.tensor(3.0)},
    step_number=3,
    seconds=1.25,
    facts={"train_loss": {"simcse": 0.7}},
)


def same(one: StageState, other: StageState) -> bool:
    tensors = all(
        left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)
        for left, right in ((one.weights, other.weights), (one.moments, other.moments))
    )
    rest = [(s.step_number, s.seconds, s.facts) for s in (one, other)]
    return tensors and rest[0] == rest[1]


def test_an_entry_comes_back_as_it_was(tmp_path: Path) -> None:
    store = LocalStageStore(tmp_path / "stages")
    assert store.get("key") is None
    store.put("key", STATE)
    found = store.get("key")
    assert found is not None and same(found, STATE)
    assert store.get("other") is None


def test_an_existing_entry_stays(tmp_path: Path) -> None:
    store = LocalStageStore(tmp_path)
    store.put("key", STATE)
    before = (tmp_path / "key" / "state.safetensors").stat().st_mtime_ns
    store.put("key", STATE)
    assert (tmp_path / "key" / "state.safetensors").stat().st_mtime_ns == before


def flip(entry: Path) -> None:
    content = bytearray((entry / "state.safetensors").read_bytes())
    content[-1] ^= 1
    (entry / "state.safetensors").write_bytes(content)


def forget_checksums(entry: Path) -> None:
    (entry / CHECKSUMS).unlink()


def cheapen(entry: Path) -> None:
    """A figure of the manifest, which would enter the costs of every trial that takes the entry."""
    manifest = json.loads((entry / "manifest.json").read_text())
    (entry / "manifest.json").write_text(json.dumps(manifest | {"seconds": 0.0}))


def let_its_header_lie(entry: Path) -> None:
    """As a program would that seals what it did not write."""
    file = entry / "state.safetensors"
    file.write_bytes(file.read_bytes().replace(b'"shape":[1,2]', b'"shape":[9,2]'))
    seal_folder(entry, "key")


def nest(entry: Path) -> None:
    (entry / "manifest.json").write_text("[" * 100_000)
    seal_folder(entry, "key")


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        let_its_header_lie,
        nest,
        lambda entry: (entry / CHECKSUMS).write_text("[" * 100_000),
        forget_checksums,
        cheapen,
        lambda entry: (entry / "state.safetensors").write_bytes(b""),
        lambda entry: (entry / "state.safetensors").unlink(),
        lambda entry: (entry / "manifest.json").unlink(),
        lambda entry: (entry / "manifest.json").write_text("{"),
        lambda entry: (entry / "manifest.json").write_text("null"),
    ],
)
def test_a_damaged_entry_counts_as_absent_and_is_replaced(
    damage: Callable[[Path], object], tmp_path: Path
) -> None:
    store = LocalStageStore(tmp_path)
    store.put("key", STATE)
    damage(tmp_path / "key")
    assert store.get("key") is None
    store.put("key", STATE)
    found = store.get("key")
    assert found is not None and same(found, STATE)


def test_weights_and_moments_of_one_name_do_not_meet() -> None:
    weights, moments = {"a": torch.ones(1)}, {"a": torch.zeros(1)}
    assert split_prefixed(prefixed(weights, moments)) == (weights, moments)


def test_what_was_not_taken_for_longest_goes_first_when_room_is_short(tmp_path: Path) -> None:
    store = LocalStageStore(tmp_path)
    for hours, key in enumerate("abcd"):
        store.put(key, STATE)
        os.utime(tmp_path / key / "manifest.json", (hours * 3600, hours * 3600))
    size = sum(file.stat().st_size for file in (tmp_path / "a").iterdir())
    assert store.get("a") is not None  # taken now
    assert store.collect(4 * size) == 0
    assert store.collect(2.5 * size, needed={"b"}) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    assert store.collect(0, needed={"b"}) == 1
    assert store.has("b") and not store.has("a")


def test_a_failure_is_told_to_whoever_wants_the_key_and_a_damaged_note_to_nobody(tmp_path: Path) -> None:
    store = LocalStageStore(tmp_path / "stages")
    assert store.failure("key") is None
    store.put_failure("key", TrainingFailure("nan", "the loss is nan"))
    found = store.failure("key")
    assert found is not None and (found.cause, str(found)) == ("nan", "the loss is nan")
    assert store.failure("other") is None
    note = tmp_path / "stages" / "key.failure.json"
    note.write_text(note.read_text().replace("loss", "lost"))
    assert store.failure("key") is None
    note.write_text("[" * 100_000 + "\n")
    assert store.failure("key") is None
    assert not store.has("key")


def test_a_failure_of_another_key_or_of_none_is_told_to_nobody(tmp_path: Path) -> None:
    store = LocalStageStore(tmp_path)
    store.put_failure("key", TrainingFailure("nan", "the loss is nan"))
    (tmp_path / "key.failure.json").rename(tmp_path / "other.failure.json")
    (tmp_path / "third.failure.json").write_bytes(sealed_line({"cause": "nan", "message": "it is"}) + b"\n")
    assert [store.failure(key) for key in ("key", "other", "third")] == [None, None, None]


def test_storage_that_fails_is_not_an_absent_entry(tmp_path: Path) -> None:
    """What is absent is trained again, for hours."""
    store = LocalStageStore(tmp_path)
    store.put("key", STATE)
    state = tmp_path / "key" / "state.safetensors"
    state.unlink()
    state.symlink_to("/proc/self/mem")  # whose first page gives an input/output error
    with pytest.raises(OSError, match="Input/output error"):
        store.get("key")


def test_a_store_below_a_folder_that_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    """An empty mount point, say."""
    with pytest.raises(FileNotFoundError):
        LocalStageStore(tmp_path / "study" / "stages").put("key", STATE)
    assert not list(tmp_path.iterdir())
