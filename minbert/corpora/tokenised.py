"""A corpus tokenised once: token ids in flat arrays on disk, mapped read-only by every trial of a machine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import BertWordPieceTokenizer, Tokenizer

from minbert.canonical import digest
from minbert.checkpoint import EncoderFiles
from minbert.config import TaskConfig
from minbert.corpora.halves import halves, holdout
from minbert.corpora.reader import Corpus, Examples
from minbert.files.durable import publish_folder
from minbert.files.sealed import is_intact

_VERSION = 2
_AT_ONCE = 10_000  # texts: an encoding holds far more than its token ids


@dataclass(frozen=True)
class TokenTable:
    """Token sequences of different lengths, end to end.

    Attributes:
        flat: (tokens,) int32 token ids without special tokens.
        offsets: (sequences + 1,) int64 where each sequence begins and the last one ends.
    """

    flat: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self.flat[self.offsets[index] : self.offsets[index + 1]]  # type: ignore[no-any-return]

    @cached_property
    def lengths(self) -> np.ndarray:
        """(sequences,) tokens of each."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class TokenisedSplit:
    """One split of one task.

    Attributes:
        columns: one table per text column.
        ids: the examples' names in the files.
        labels: (examples,) float32, or None.
        selected: (examples,) bool: dev's select half, or train's held-out tenth; or None.
    """

    columns: tuple[TokenTable, ...]
    ids: tuple[str, ...]
    labels: np.ndarray | None
    selected: np.ndarray | None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class TokenisedCorpus:
    """All splits of all tasks, further texts, and the special tokens' ids.

    Attributes:
        mask_id: id of [MASK]; None where the vocabulary has none.
        texts: one table (sentences) or three (triplets) by the name that stages use.
    """

    fingerprint: str
    cls_id: int
    sep_id: int
    splits: Mapping[str, Mapping[str, TokenisedSplit]]
    notes: tuple[str, ...] = field(default=())
    overlap: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    mask_id: int | None = None
    texts: Mapping[str, tuple[TokenTable, ...]] = field(default_factory=dict)


def tokenised(corpus: Corpus, tasks: Mapping[str, TaskConfig], encoder: EncoderFiles, cache: Path) -> Path:
    """Tokenise a corpus into a folder below ``cache``, unless it is there already, and return that folder."""
    kinds = {name: task.kind for name, task in tasks.items()}
    texts = {name: text.fingerprint for name, text in corpus.texts.items()}
    key = digest([_VERSION, corpus.fingerprint, encoder.fingerprint, kinds, texts])[:24]
    folder = cache / key
    if not is_intact(folder, key):
        with publish_folder(folder, of=key) as temporary:
            _write(corpus, tasks, encoder.tokenizer(), temporary)
    return folder


def open_tokenised(folder: Path) -> TokenisedCorpus:
    """Map a folder that :func:`tokenised` made."""
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    splits = {
        task: {split: _open_split(folder, task, split, meta) for split, meta in by_split.items()}
        for task, by_split in index["splits"].items()
    }
    return TokenisedCorpus(
        index["fingerprint"],
        index["cls_id"],
        index["sep_id"],
        splits,
        tuple(index["notes"]),
        index["overlap"],
        index["mask_id"],
        {name: _open_tables(folder, stem, columns) for name, (stem, columns) in index["texts"].items()},
    )


def _write(
    corpus: Corpus,
    tasks: Mapping[str, TaskConfig],
    tokenizer: Tokenizer | BertWordPieceTokenizer,
    folder: Path,
) -> None:
    index: dict[str, Any] = {
        "fingerprint": corpus.fingerprint,
        "cls_id": tokenizer.token_to_id("[CLS]"),
        "sep_id": tokenizer.token_to_id("[SEP]"),
        "mask_id": tokenizer.token_to_id("[MASK]"),
        "notes": corpus.notes,
        "overlap": corpus.overlap,
        "splits": {},
        "texts": {},
    }
    for task, by_split in corpus.splits.items():
        index["splits"][task] = {}
        for split, examples in by_split.items():
            for number, texts in enumerate(examples.texts):
                _write_tokens(folder / f"{task}.{split}.{number}", tokenizer, texts)
            if examples.labels is not None:
                np.save(folder / f"{task}.{split}.labels.npy", examples.labels.astype(np.float32))
            selected = _selected(examples, split, tasks[task])
            if selected is not None:
                np.save(folder / f"{task}.{split}.selected.npy", selected)
            index["splits"][task][split] = {"columns": len(examples.texts), "ids": examples.ids}
    for at, (name, text) in enumerate(corpus.texts.items()):
        for number, column in enumerate(text.columns):
            _write_tokens(folder / f"text-{at}.{number}", tokenizer, column)
        index["texts"][name] = [f"text-{at}", len(text.columns)]
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")


def _selected(examples: Examples, split: str, task: TaskConfig) -> np.ndarray | None:
    if examples.labels is None or split == "test":
        return None
    return halves(examples, task.kind) if split == "dev" else holdout(examples, task.kind)


def _write_tokens(stem: Path, tokenizer: Tokenizer | BertWordPieceTokenizer, texts: Sequence[str]) -> None:
    tokens: list[np.ndarray] = []
    lengths: list[int] = []
    for start in range(0, len(texts), _AT_ONCE):
        encodings = tokenizer.encode_batch(list(texts[start : start + _AT_ONCE]), add_special_tokens=False)
        sequences = [encoding.ids for encoding in encodings]
        tokens.append(np.fromiter(chain.from_iterable(sequences), np.int32))
        lengths += map(len, sequences)
    np.save(f"{stem}.tokens.npy", np.concatenate(tokens))
    np.save(f"{stem}.offsets.npy", np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))


def _open_split(folder: Path, task: str, split: str, meta: Mapping[str, Any]) -> TokenisedSplit:
    def load(name: str) -> np.ndarray | None:
        path = folder / f"{task}.{split}.{name}.npy"
        return np.load(path, mmap_mode="r", allow_pickle=False) if path.is_file() else None

    tables = _open_tables(folder, f"{task}.{split}", meta["columns"])
    return TokenisedSplit(tables, tuple(meta["ids"]), load("labels"), load("selected"))


def _open_tables(folder: Path, stem: str, columns: int) -> tuple[TokenTable, ...]:
    def load(name: str) -> np.ndarray:
        return np.load(folder / f"{stem}.{name}.npy", mmap_mode="r", allow_pickle=False)

    return tuple(TokenTable(load(f"{number}.tokens"), load(f"{number}.offsets")) for number in range(columns))
