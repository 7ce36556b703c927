"""What there is to fetch: which files of which repository at which revision, and what is made of them.

Repositories, revisions, file names and columns were taken from the hub's public pages. Revisions are commits, so the
same files come tomorrow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from minbert.errors import UserError, did_you_mean

PUBLIC_HUB = "https://huggingface.co"
PUBLIC_PAGES = {"dataset": f"{PUBLIC_HUB}/datasets/", "model": f"{PUBLIC_HUB}/"}
"""Where a person finds a repository, by its kind."""

LayoutName = Literal["sst", "qqp", "sts", "triplets", "as_is"]


@dataclass(frozen=True)
class Repository:
    """A repository of the hub at one commit."""

    name: str
    kind: Literal["dataset", "model"]
    revision: str


@dataclass(frozen=True)
class HubFile:
    """One file of a repository."""

    repository: Repository
    path: str


@dataclass(frozen=True)
class Entry:
    """Something to fetch, by the name that ``--only`` takes."""

    name: str
    what: str
    repository: Repository
    paths: tuple[str, ...]
    """Files of the repository, in the order in which the layout takes them."""
    layout: LayoutName
    """What turns them into the files below (:mod:`minbert.hub.layouts`)."""
    writes: tuple[str, ...]
    """Files in the data folder."""
    megabytes: float
    """What is downloaded, about."""
    licence: str

    @property
    def files(self) -> tuple[HubFile, ...]:
        """The hub's files."""
        return tuple(HubFile(self.repository, path) for path in self.paths)


SST5 = Repository("SetFit/sst5", "dataset", "e51bdcd8cd3a30da231967c1a249ba59361279a3")
GLUE = Repository("nyu-mll/glue", "dataset", "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c")
SIMCSE = Repository(
    "princeton-nlp/datasets-for-simcse", "dataset", "e145e8bb659b2aa2669f32ef79cb4cdef6c58fef"
)
BERT = Repository("google-bert/bert-base-uncased", "model", "86b5e0934494bd15c9632b12f734a8a67f723594")

ENCODER_FOLDER = "bert-base-uncased"
_ENCODER_FILES = ("config.json", "tokenizer_config.json", "tokenizer.json", "vocab.txt", "model.safetensors")

ENTRIES = (
    Entry(
        name="sst",
        what="SST-5, five classes of sentiment: train 8,544, dev 1,101, test 2,210",
        repository=SST5,
        paths=("train.jsonl", "dev.jsonl", "test.jsonl"),
        layout="sst",
        writes=("ids-sst-train.csv", "ids-sst-dev.csv", "ids-sst-test-student.csv"),
        megabytes=1.8,
        licence="none stated; Stanford Sentiment Treebank, for research",
    ),
    Entry(
        name="qqp",
        what="Quora question pairs: train 282,988, dev 40,429, test 80,859",
        repository=GLUE,
        paths=("qqp/train-00000-of-00001.parquet", "qqp/validation-00000-of-00001.parquet"),
        layout="qqp",
        writes=("quora-train.csv", "quora-dev.csv", "quora-test-student.csv"),
        megabytes=37.3,
        licence="Quora's terms of service, not commercial",
    ),
    Entry(
        name="sts",
        what="STS-B, similarity from 0 to 5: train 5,749, dev 1,500, test 1,379",
        repository=GLUE,
        paths=tuple(f"stsb/{split}-00000-of-00001.parquet" for split in ("train", "validation", "test")),
        layout="sts",
        writes=("sts-train.csv", "sts-dev.csv", "sts-test-student.csv"),
        megabytes=0.8,
        licence="scores CC BY-SA 4.0; texts as their sources say",
    ),
    Entry(
        name="nli",
        what="275,601 triplets from SNLI and MultiNLI: sentence, entailed, contradicting",
        repository=SIMCSE,
        paths=("nli_for_simcse.csv",),
        layout="triplets",
        writes=("nli.csv",),
        megabytes=49.0,
        licence="none stated; SNLI CC BY-SA 4.0, MultiNLI several",
    ),
    Entry(
        name="wiki",
        what="1,000,000 sentences of the English Wikipedia",
        repository=SIMCSE,
        paths=("wiki1m_for_simcse.txt",),
        layout="as_is",
        writes=("wiki1m_for_simcse.txt",),
        megabytes=120.0,
        licence="none stated; Wikipedia CC BY-SA",
    ),
    Entry(
        name=ENCODER_FOLDER,
        what="BERT base, uncased: 110M parameters and its vocabulary",
        repository=BERT,
        paths=_ENCODER_FILES,
        layout="as_is",
        writes=tuple(f"{ENCODER_FOLDER}/{name}" for name in _ENCODER_FILES),
        megabytes=441.2,
        licence="Apache 2.0",
    ),
)


def chosen(names: list[str] | None) -> tuple[Entry, ...]:
    """The entries of these names, in the catalogue's order; all for None.

    Raises:
        UserError: there is no entry of a name.
    """
    if names is None:
        return ENTRIES
    known = [entry.name for entry in ENTRIES]
    for name in names:
        if name not in known:
            if set(name.split(",")) <= set(known):
                raise UserError(
                    f"--only {name[:60]!r}: names are separated by blanks: --only {name.replace(',', ' ')}"
                )
            raise UserError(
                f"--only {name[:60]!r}: there is {', '.join(known)}{did_you_mean(name, known)} (see --list)"
            )
    return tuple(entry for entry in ENTRIES if entry.name in names)
