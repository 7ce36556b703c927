"""The bundled files are what their scripts make, small, and readable by everybody's tools."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import transformers

from minbert.bundled import CORPUS, ENCODER
from minbert.checkpoint import open_encoder
from minbert.corpora.reader import read_corpus
from minbert.task_config import default_tasks


def test_the_script_makes_the_committed_corpus_byte_for_byte(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "minbert.bundled.make_corpus", "--out", str(tmp_path)], check=True)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_bytes() for path in (CORPUS).iterdir()}


def test_corpus_and_encoder_are_small() -> None:
    assert sum(path.stat().st_size for path in (CORPUS).iterdir()) < 1.1e6
    assert sum(path.stat().st_size for path in (ENCODER).iterdir()) < 4e6


def test_every_split_is_read_without_a_note() -> None:
    corpus = read_corpus(CORPUS, default_tasks())
    assert corpus.notes == ()
    whole = {"train", "dev", "test"}
    assert {task: set(splits) for task, splits in corpus.splits.items()} == {
        "sst": whole,
        "qqp": whole,
        "sts": whole,
    }


def test_transformers_loads_the_encoder() -> None:
    model = transformers.BertModel.from_pretrained(ENCODER)
    assert model.config.hidden_size == open_encoder(ENCODER).config.hidden_size
