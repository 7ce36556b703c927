"""A recipe is a chain of stages; the store keeps what earlier stages produced.

An entry is the state after some epochs of a stage that is not the last one. Its key covers
everything that the state depends on (:func:`minbert.canonical.stage_key`), so whoever finds
a key need not train. Entries at the epochs of a stage whose schedule has no end also hold
the optimiser's moments: a longer run goes on from a shorter one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from safetensors.torch import load_file, save_file
from torch import Tensor

from minbert.durable import publish_folder
from minbert.sealed import is_intact


@dataclass(frozen=True)
class StageState:
    """What a stage leaves behind.

    Attributes:
        weights: parameters by name that later stages start from.
        moments: what training goes on from, empty unless the stage can be extended.
        step_number: optimiser steps done.
        seconds: cost of making it, earlier stages not included.
        facts: losses and scores of the last epoch, as they stand in a history record.
    """

    weights: dict[str, Tensor]
    moments: dict[str, Tensor]
    step_number: int
    seconds: float
    facts: dict[str, Any]


class StageStore(Protocol):
    """Where finished stages are kept."""

    def get(self, key: str) -> StageState | None:
        """The entry of a key, or None when it is absent or damaged."""

    def put(self, key: str, state: StageState) -> None:
        """Publish an entry; an existing one stays."""


class LocalStageStore:
    """A stage store in a folder: one folder a key, renamed into place when complete."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> StageState | None:
        entry = self._folder / key
        try:
            if not is_intact(entry):
                return None
            meta = json.loads((entry / "manifest.json").read_text(encoding="utf-8"))
            tensors = load_file(entry / "state.safetensors")
        except (OSError, ValueError, KeyError, TypeError):
            return None
        weights, moments = split_prefixed(tensors)
        return StageState(weights, moments, meta["step_number"], meta["seconds"], meta["facts"])

    def put(self, key: str, state: StageState) -> None:
        if (self._folder / key / "manifest.json").is_file() and self.get(key) is not None:
            return
        try:
            self._publish(key, state)
        except OSError:  # somebody else may have published the same state at the same moment
            if self.get(key) is None:
                raise

    def _publish(self, key: str, state: StageState) -> None:
        with publish_folder(self._folder / key) as temporary:
            save_file(prefixed(state.weights, state.moments), temporary / "state.safetensors")
            meta = {
                "step_number": state.step_number,
                "seconds": state.seconds,
                "facts": state.facts,
            }
            (temporary / "manifest.json").write_text(json.dumps(meta), encoding="utf-8")


def prefixed(weights: dict[str, Tensor], moments: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights and moments in one mapping for a safetensors file."""
    joined = {f"weight/{name}": tensor for name, tensor in weights.items()}
    joined |= {f"moment/{name}": tensor for name, tensor in moments.items()}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in joined.items()}


def split_prefixed(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The inverse of :func:`prefixed`."""
    weights = {
        name.removeprefix("weight/"): value for name, value in tensors.items() if name.startswith("weight/")
    }
    moments = {
        name.removeprefix("moment/"): value for name, value in tensors.items() if name.startswith("moment/")
    }
    return weights, moments
