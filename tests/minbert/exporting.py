"""A trained model as an exported folder."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from minbert.checkpoint import EncoderFiles
from minbert.config import TrainConfig
from minbert.corpora.tokenised import TokenisedCorpus
from minbert.exported_files import Manifest, single, write_manifest, write_model
from minbert.files.sealed import seal_folder
from minbert.stages import LocalStageStore
from minbert.trial import Materials, Trial


def train(folder: Path, config: TrainConfig, corpus: TokenisedCorpus, encoder: EncoderFiles) -> Path:
    """Train a configuration into a folder; returns the folder."""
    with tempfile.TemporaryDirectory() as store:
        materials = Materials(corpus, encoder, encoder.weights(), LocalStageStore(Path(store)))
        list(Trial(config, materials, folder).run())
    return folder


def write_exported(folder: Path, trial: Path, config: TrainConfig) -> Path:
    """Export a trained configuration as a single model; returns the folder."""
    folder.mkdir(parents=True)
    write_model(folder, trial / "best", config, single(config))
    seal_folder(folder)
    return folder


def write_several(folder: Path, members: dict[str, tuple[Path, TrainConfig]], tasks: dict[str, Any]) -> Path:
    """Export several trained configurations that answer together; returns the folder."""
    for name, (trial, config) in members.items():
        write_exported(folder / "members" / name, trial, config)
    write_manifest(folder, Manifest.model_validate({"tasks": tasks}))
    seal_folder(folder)
    return folder
