"""What an exported folder holds: a model in Hugging Face's layout with our heads, or several that answer together.

A single model: ``config.json``, ``model.safetensors`` and the tokeniser (the encoder), ``heads.safetensors``,
``config.yaml`` (what it was trained with) and the files of sentence-transformers. Several: such a folder each below
``members/``. Either way ``minbert.json`` says which models answer a task and ``checksums.json`` what was written.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import Field

from minbert.checkpoint import open_encoder
from minbert.config import TrainConfig
from minbert.errors import UserError
from minbert.files.durable import write_text
from minbert.files.sealed import damage
from minbert.files.strangers import refuse_irregular
from minbert.schema import Frozen
from minbert.sentence_transformers_files import write_sentence_transformers
from minbert.weights_file import WEIGHTS
from minbert.yaml_reader import sealed_yaml

FORMAT = 1
MANIFEST, CONFIG, HEADS, CARD, MEMBERS = (
    "minbert.json",
    "config.yaml",
    "heads.safetensors",
    "README.md",
    "members",
)
HERE = "."
"""The folder itself, as the place of a member."""
_NEEDED = (MANIFEST, CONFIG, HEADS, "config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json")
Name = Annotated[str, Field(pattern=r"^(\.|members/[A-Za-z0-9][A-Za-z0-9_-]*)$")]


class Member(Frozen):
    """A model whose outputs count for a task."""

    folder: Name
    """``members/<name>``, or ``.`` for the folder itself."""
    weight: float = Field(gt=0, le=1)


class Answering(Frozen):
    """How a task is answered: the weighted mean of the members' probabilities or scores."""

    members: tuple[Member, ...] = Field(min_length=1)
    threshold: float | None = Field(default=None, ge=0, le=1)
    """The answer of a binary task is 1 above this probability; None for other tasks."""


class Manifest(Frozen):
    """The content of ``minbert.json``."""

    format: Literal[1] = 1
    study: str = ""
    trials: tuple[int, ...] = ()
    tasks: dict[str, Answering] = Field(min_length=1)

    @property
    def is_single(self) -> bool:
        """Whether the model lies in the folder itself."""
        return self.folders == (HERE,)

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders of all members, each once."""
        named = (member.folder for answering in self.tasks.values() for member in answering.members)
        return tuple(dict.fromkeys(named))


def single(config: TrainConfig, study: str = "", trial: int | None = None) -> Manifest:
    """The description of a folder with one model."""
    tasks = {
        task: Answering(members=(Member(folder=HERE, weight=1),), threshold=threshold(config, task))
        for task in config.tasks
    }
    return Manifest(study=study, trials=() if trial is None else (trial,), tasks=tasks)


def threshold(config: TrainConfig, task: str) -> float | None:
    """What a task's probability is compared with; all metrics of a binary task are measured at one half."""
    return 0.5 if config.tasks[task].kind == "binary" else None


def write_model(folder: Path, kept: Path, config: TrainConfig, manifest: Manifest) -> None:
    """Write one model's files into a folder that exists; whoever publishes it seals it.

    Args:
        folder: where they go.
        kept: ``best/`` of a run, or a task's folder below it.
        config: what it was trained with.
        manifest: says which tasks it answers.

    Raises:
        UserError: the encoder is not whole.
    """
    encoder = open_encoder(kept / "encoder")
    for file in sorted((kept / "encoder").iterdir()):
        shutil.copyfile(file, folder / file.name)
    shutil.copyfile(kept / HEADS, folder / HEADS)
    tokenizer = encoder.tokenizer()
    if not (folder / "tokenizer.json").exists():
        tokenizer.save(str(folder / "tokenizer.json"))
    if not (folder / "tokenizer_config.json").exists():
        normalizer = (
            json.loads((folder / "tokenizer.json").read_text(encoding="utf-8")).get("normalizer") or {}
        )
        lowercase = bool(normalizer.get("lowercase", False))
        settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": lowercase}
        write_text(folder / "tokenizer_config.json", json.dumps(settings, indent=2) + "\n")
    write_text(folder / CONFIG, sealed_yaml(config.model_dump(mode="json", exclude_none=True)))
    write_manifest(folder, manifest)
    write_sentence_transformers(folder, config)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``minbert.json``."""
    write_text(folder / MANIFEST, json.dumps(manifest.model_dump(mode="json"), indent=2) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """Read ``minbert.json``, and check that what the models need is as it was written.

    Other files, such as the model card, may have been changed.

    Raises:
        UserError: the folder is missing, was not exported, is damaged, or was made by a newer version.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    file = folder / MANIFEST
    refuse_irregular(file)
    if not file.is_file():
        kind = "a study" if (folder / "study.yaml").is_file() else "no exported model"
        raise UserError(
            f"{folder}: {kind} (it has no {MANIFEST}); python -m trainables.export STUDY --to DIR makes one"
        )
    _refuse_damage(folder, MANIFEST)
    manifest = _parse(file)
    for member in manifest.folders:
        for name in _NEEDED:
            refuse_irregular(folder / member / name)
            _refuse_damage(folder / member, name)
    return manifest


def _refuse_damage(folder: Path, name: str) -> None:
    if found := damage(folder, name):
        raise UserError(f"{folder}: damaged: {found}; export the model again")


def _parse(file: Path) -> Manifest:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(content, dict) and isinstance(found := content.get("format"), int) and found > FORMAT:
            raise UserError(f"{file}: format {found} is newer than this program reads ({FORMAT}): update it")
        return Manifest.model_validate(content)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{file}: damaged at {where or 'its top'}: {first['msg']}") from None
    except (ValueError, RecursionError, OSError) as error:
        raise UserError(f"{file}: damaged: {error}") from None
