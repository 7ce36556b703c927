"""A corpus survives tokenising, and is tokenised once."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from minbert.checkpoint import EncoderFiles, open_encoder
from minbert.config import default_tasks
from minbert.corpora.halves import halves, holdout
from minbert.corpora.reader import Corpus, read_corpus
from minbert.corpora.tokenised import open_tokenised, tokenised

TASKS = default_tasks()


@pytest.fixture
def corpus(corpus_folder: Path) -> Corpus:
    return read_corpus(corpus_folder, TASKS)


def test_texts_labels_ids_and_notes_come_back(
    corpus: Corpus, encoder_files: EncoderFiles, tmp_path: Path
) -> None:
    found = open_tokenised(tokenised(corpus, TASKS, encoder_files, tmp_path))
    tokenizer = encoder_files.tokenizer()
    assert found.fingerprint == corpus.fingerprint
    assert found.notes == corpus.notes and found.overlap == corpus.overlap
    assert (found.cls_id, found.sep_id) == (2, 3)
    for task, by_split in corpus.splits.items():
        assert list(found.splits[task]) == list(by_split)
        for split, examples in by_split.items():
            data = found.splits[task][split]
            assert data.ids == examples.ids and len(data) == len(examples)
            assert len(data.columns) == len(examples.texts)
            for table, texts in zip(data.columns, examples.texts, strict=True):
                ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
                assert [table[n].tolist() for n in range(len(table))] == ids
                assert table.lengths.tolist() == list(map(len, ids))
            if examples.labels is None:
                assert data.labels is None
            else:
                assert data.labels is not None
                np.testing.assert_allclose(data.labels, examples.labels, rtol=1e-6)


def test_dev_has_its_halves_and_train_its_held_out_tenth(
    corpus: Corpus, encoder_files: EncoderFiles, tmp_path: Path
) -> None:
    found = open_tokenised(tokenised(corpus, TASKS, encoder_files, tmp_path))
    for task, splits in found.splits.items():
        kind = TASKS[task].kind
        np.testing.assert_array_equal(splits["dev"].selected, halves(corpus.splits[task]["dev"], kind))
        np.testing.assert_array_equal(splits["train"].selected, holdout(corpus.splits[task]["train"], kind))
        assert splits["test"].selected is None


def test_a_second_call_uses_what_is_there(
    corpus: Corpus, encoder_files: EncoderFiles, tmp_path: Path
) -> None:
    folder = tokenised(corpus, TASKS, encoder_files, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert tokenised(corpus, TASKS, encoder_files, tmp_path) == folder
    assert before == {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_another_vocabulary_or_other_data_is_tokenised_anew(
    corpus: Corpus, corpus_folder: Path, tiny_encoder: Path, encoder_files: EncoderFiles, tmp_path: Path
) -> None:
    other = shutil.copytree(tiny_encoder, tmp_path / "encoder")
    (other / "vocab.txt").write_text((other / "vocab.txt").read_text().replace("ban\n", "bann\n"))
    data = shutil.copytree(corpus_folder, tmp_path / "data")
    with (data / "ids-sst-train.csv").open("a") as file:
        file.write("extra\tba be\t1\n")
    cache = tmp_path / "cache"
    folders = {
        tokenised(corpus, TASKS, encoder_files, cache),
        tokenised(corpus, TASKS, open_encoder(other), cache),
        tokenised(read_corpus(data, TASKS), TASKS, encoder_files, cache),
    }
    assert len(folders) == 3
