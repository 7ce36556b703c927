"""Where data and encoders come from: a path, a hub id, or ``auto``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from minbert.bundled import CORPUS, ENCODER
from minbert.checkpoint import EncoderFiles, open_encoder
from minbert.config import TaskConfig
from minbert.corpora.reader import Corpus, read_corpus
from minbert.corpora.texts import Role
from minbert.errors import UserError
from minbert.exported_files import HEADS
from minbert.files.sealed import CHECKSUMS, damage
from minbert.remote.urls import is_url

HUB_ENCODER = "bert-base-uncased"
_NOTICE = (
    "No data/ folder and no MINBERT_DATA: using the bundled miniature {what}; its scores are not the papers'."
)


@dataclass(frozen=True)
class Sources:
    """Resolved data and encoder of a study or a single run."""

    corpus: Corpus
    encoder: EncoderFiles
    data_bundled: bool
    encoder_bundled: bool

    def notice(self) -> str:
        """The line that tells a user who named no data what is used instead."""
        return _NOTICE.format(what="corpus and encoder" if self.encoder_bundled else "corpus")


def resolve(
    data: str,
    encoder: str,
    tasks: Mapping[str, TaskConfig],
    default_data: str | None = None,
    texts: Mapping[str, Role] | None = None,
) -> Sources:
    """Find and check data and encoder.

    Args:
        data: a folder, or ``auto``: ``default_data`` when given, else ``./data`` when present,
            else the bundled corpus.
        encoder: a checkpoint folder, the folder of an earlier run or trial or its ``best/`` (the
            encoder inside is taken), a hub id, or ``auto``: the bundled encoder with the bundled
            corpus, bert-base-uncased otherwise.
        tasks: the tasks to read.
        default_data: what the environment names.
        texts: further text files that stages need (:func:`minbert.corpora.texts.texts_needed`).

    Raises:
        UserError: something is missing or not of its format.
    """
    folder = _data_folder(data, default_data).absolute()
    bundled = folder == CORPUS
    corpus = read_corpus(folder, tasks, texts)
    if encoder != "auto":
        found = _encoder_folder(encoder)
    else:
        found = ENCODER if bundled else _standard_encoder(folder)
    files = open_encoder(found.absolute())
    return Sources(corpus, files, bundled, files.folder == ENCODER)


def _data_folder(data: str, default: str | None) -> Path:
    given = default if data == "auto" else data
    if given and is_url(given):
        raise UserError(f"{given}: data are read from a folder of this machine, not from a URL")
    if given:
        return Path(given)
    local = Path("data")
    return local if local.is_dir() else CORPUS


def _standard_encoder(data: Path) -> Path:
    """The standard encoder, as ``minbert.fetch`` puts it into a data folder, or from the hub."""
    fetched = data / HUB_ENCODER
    if (fetched / "config.json").is_file():
        return fetched
    try:
        return _encoder_folder(HUB_ENCODER)
    except UserError as error:
        raise UserError(
            f"{error}; it is the default for data of one's own, as no --encoder was given: the bundled small one is "
            f"--encoder {ENCODER}"
        ) from None


def _encoder_folder(name: str) -> Path:
    path = Path(name)
    if path.exists():
        return _inside(path)
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or name.startswith("."):
        raise UserError(f"--encoder {name}: no such folder")
    return _download(name)


def _inside(path: Path) -> Path:
    """The encoder of a run's folder or of its ``best/``; any other folder is an encoder's itself."""
    if (path / "config.json").is_file():
        for folder in (path, path.absolute().parent):
            if (folder / HEADS).exists():  # else its checksums are somebody else's
                _refuse_damaged(folder, path)
        return path
    for inner in (path / "best" / "encoder", path / "encoder"):
        if (inner / "config.json").is_file():
            _refuse_damaged(inner.parent, path)
            return inner
    for folder in (path / "best", path):
        kept = sorted(inner for inner in folder.glob("*") if (inner / "encoder" / "config.json").is_file())
        if kept:
            raise UserError(
                f"--encoder {path}: a run with a model for every task; name one of {', '.join(map(str, kept))}"
            )
    if (path / "config.yaml").is_file():
        raise UserError(f"--encoder {path}: a run without best/encoder: it has not finished an epoch")
    if (path / "study.yaml").is_file():
        raise UserError(f"--encoder {path}: a study; name one of its trials: {path / 'trials'}/…")
    return path


def _refuse_damaged(folder: Path, named: Path) -> None:
    """Refuse the model of a run, or one that was exported, that is not what was written."""
    if (folder / CHECKSUMS).is_file() and (found := damage(folder)):
        raise UserError(f"--encoder {named}: damaged: {found}")


def _download(name: str) -> Path:
    """The local copy of a hub checkpoint; downloaded when it is not in the cache."""
    from huggingface_hub import constants, snapshot_download  # noqa: PLC0415 - slow, and needed only here
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError  # noqa: PLC0415

    from minbert.hub.client import send_no_more_than_needed  # noqa: PLC0415

    send_no_more_than_needed()
    files = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"]
    try:
        return Path(snapshot_download(name, allow_patterns=files))
    except LocalEntryNotFoundError:
        hub, cache = constants.ENDPOINT, constants.HF_HUB_CACHE
        cause = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else f"{hub} cannot be reached"
        raise UserError(
            f"--encoder {name}: no such folder, not in the hub's cache {cache}, and {cause}; name a folder "
            "with config.json, model.safetensors and vocab.txt (`python -m minbert.fetch` says what goes where), "
            "or bring that cache from a machine that has it"
        ) from None
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise UserError(
            f"--encoder {name}: no such folder, and the hub does not give it ({type(error).__name__}); "
            "name a local checkpoint folder"
        ) from None
