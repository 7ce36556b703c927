"""A tiny random encoder, a small corpus in the CS224N layout, and trials on them."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from minbert.checkpoint import EncoderFiles, open_encoder
from minbert.config import TrainConfig, build_config
from minbert.corpora.reader import read_corpus
from minbert.corpora.tokenised import TokenisedCorpus, open_tokenised, tokenised
from minbert.stages import LocalStageStore
from minbert.trial import Materials, Trial

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = tuple(f"{first}{second}" for first in "bcdfgh" for second in ("a", "e", "i", "o", "u", "an", "en"))
SIZES = {"train": 40, "dev": 24, "test": 8}

MakeConfig = Callable[..., TrainConfig]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random BERT of two layers, written by transformers."""
    folder = tmp_path_factory.mktemp("encoder")
    config = transformers.BertConfig(
        vocab_size=len(SPECIAL) + len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=64,
        initializer_range=0.2,
    )
    torch.manual_seed(7)
    model = transformers.BertModel(config)
    with torch.no_grad():  # fresh biases and layer norms are zeros and ones, which would hide a mix-up
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(SPECIAL + WORDS) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the three tasks: 40 training, 24 dev and 8 unlabelled test examples each."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(3)
    for split, count in SIZES.items():
        marks = [f"{split}{number}" for number in range(count)]
        sst = [[mark, _sentence(rng), number % 5] for number, mark in enumerate(marks)]
        qqp = [[mark, _sentence(rng), _sentence(rng), float(number % 2)] for number, mark in enumerate(marks)]
        sts = [
            [mark, _sentence(rng), _sentence(rng), (number * 7 % 26) / 5] for number, mark in enumerate(marks)
        ]
        _write(folder / f"ids-sst-{split}.csv", ["id", "sentence", "sentiment"], sst, split)
        _write(folder / f"quora-{split}.csv", ["id", "sentence1", "sentence2", "is_duplicate"], qqp, split)
        _write(folder / f"sts-{split}.csv", ["id", "sentence1", "sentence2", "similarity"], sts, split)
    return folder


def _sentence(rng: np.random.Generator) -> str:
    return " ".join(rng.choice(WORDS, size=rng.integers(2, 12)))


def _write(path: Path, header: list[str], rows: list[list[Any]], split: str) -> None:
    width = len(header) - (split == "test")
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerows([header[:width], *(row[:width] for row in rows)])


@pytest.fixture(scope="session")
def encoder_files(tiny_encoder: Path) -> EncoderFiles:
    return open_encoder(tiny_encoder)


@pytest.fixture(scope="session")
def small_corpus(
    corpus_folder: Path, encoder_files: EncoderFiles, tmp_path_factory: pytest.TempPathFactory
) -> TokenisedCorpus:
    tasks = build_config({}).tasks
    cache = tmp_path_factory.mktemp("tokenised")
    return open_tokenised(tokenised(read_corpus(corpus_folder, tasks), tasks, encoder_files, cache))


@pytest.fixture
def materials(small_corpus: TokenisedCorpus, encoder_files: EncoderFiles) -> Callable[[Path], Materials]:
    """Make the materials of a trial whose stage store is in a folder."""

    def make(store: Path) -> Materials:
        return Materials(small_corpus, encoder_files, encoder_files.weights(), LocalStageStore(store))

    return make


@pytest.fixture(scope="session")
def configure(small_corpus: TokenisedCorpus, encoder_files: EncoderFiles) -> MakeConfig:
    """Make a pinned configuration: some leaves by dotted path over two fast epochs of fine-tuning."""

    def make(**leaves: Any) -> TrainConfig:
        partial: dict[str, Any] = {
            "data": {"path": "data", "fingerprint": small_corpus.fingerprint},
            "encoder": {"path": "encoder", "fingerprint": encoder_files.fingerprint},
            "device": "cpu",
            "precision": "fp32",
            "threads": 1,
            "max_length": 24,
            "stages": {
                "simcse": {"batch_size": 32, "max_length": 12, "learning_rate": 1e-3},
                "finetune": {"epochs": 2, "batch_size": 16, "learning_rate": 1e-3},
            },
        }
        for path, value in leaves.items():
            *parents, leaf = path.split("__")
            place = partial
            for parent in parents:
                place = place.setdefault(parent, {})
            place[leaf] = value
        return build_config(partial)

    return make


@pytest.fixture
def finish(materials: Callable[[Path], Materials], tmp_path: Path) -> Callable[..., Path]:
    """Run a trial to its end without a pause, with a stage store of its own unless one is named."""

    def run(config: TrainConfig, name: str, store: str | None = None) -> Path:
        list(Trial(config, materials(tmp_path / (store or f"{name}-store")), tmp_path / name).run())
        return tmp_path / name

    return run
