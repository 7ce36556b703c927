"""What was fetched into a data folder: ``fetched/`` says where each file is from and what it was when written.

The folder is a subfolder, which readers of data pass over. ``sources.json`` is what is believed; ``SHA256SUMS`` (for
``sha256sum -c``) and ``README.md`` are made from it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from minbert.errors import UserError
from minbert.files.durable import write_text
from minbert.files.sealed import checksum
from minbert.hub.catalogue import ENTRIES, PUBLIC_PAGES, Entry, HubFile

FOLDER = "fetched"

State = Literal["there", "incomplete", "other revision", "not there", "not ours"]


class Fetched(BaseModel):
    """One entry as it was fetched."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    repository: str
    revision: str
    verified: bool
    """Whether the hub's checksums were compared; not so for files that were put there by hand, without a connection."""
    files: dict[str, str]
    """SHA-256 of every file written, by its path in the data folder."""
    remarks: list[str]


Record = dict[str, Fetched]
_RECORD = TypeAdapter(Record)


@dataclass(frozen=True)
class Condition:
    """How an entry stands in a data folder.

    Attributes:
        strange: its files that somebody else wrote or changed.
    """

    state: State
    strange: tuple[Path, ...] = ()


def download_of(folder: Path, file: HubFile) -> Path:
    """Where a file of the hub lies until it is laid out, and where one is put by hand."""
    return folder / FOLDER / "downloads" / file.repository.name.replace("/", "--") / file.path


def read_record(folder: Path) -> Record:
    """What a data folder's record says; nothing where there is none.

    Raises:
        UserError: it is no such record.
    """
    path = folder / FOLDER / "sources.json"
    try:
        return _RECORD.validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (ValidationError, ValueError, IsADirectoryError, PermissionError) as error:
        raise UserError(
            f"{path}: is not the record that was written ({type(error).__name__}); move it away, and the files "
            "of --list with it, to fetch them anew"
        ) from None


def condition(folder: Path, entry: Entry, record: Mapping[str, Fetched]) -> Condition:
    """Compare an entry's files with the record; every file is read."""
    known = record[entry.name].files if entry.name in record else {}
    present = [name for name in entry.writes if os.path.lexists(folder / name)]
    strange = tuple(folder / name for name in present if not _is_as_written(folder / name, known.get(name)))
    if strange:
        return Condition("not ours", strange)
    if not present:
        return Condition("not there")
    if (record[entry.name].repository, record[entry.name].revision) != (
        entry.repository.name,
        entry.repository.revision,
    ):
        return Condition("other revision")
    return Condition("there" if len(present) == len(entry.writes) else "incomplete")


def write_record(folder: Path, record: Mapping[str, Fetched]) -> None:
    """Replace record, checksums and README."""
    inside = folder / FOLDER
    content = {name: fetched.model_dump() for name, fetched in record.items()}
    sums = {path: digest for fetched in record.values() for path, digest in fetched.files.items()}
    write_text(inside / "SHA256SUMS", "".join(f"{digest}  {path}\n" for path, digest in sorted(sums.items())))
    write_text(inside / "README.md", _readme(record))
    write_text(inside / "sources.json", json.dumps(content, indent=1) + "\n")


def _is_as_written(path: Path, digest: str | None) -> bool:
    try:
        return digest is not None and path.is_file() and checksum(path) == digest
    except PermissionError:
        return False


def _readme(record: Mapping[str, Fetched]) -> str:
    lines = [
        "# What `python -m minbert.fetch` wrote",
        "",
        "Check it with `sha256sum -c fetched/SHA256SUMS` in the data folder.",
    ]
    for entry in ENTRIES:
        if (fetched := record.get(entry.name)) is None:
            continue
        lines += [
            "",
            f"## {entry.name}",
            "",
            f"{entry.what}.",
            "",
            f"- from {PUBLIC_PAGES[entry.repository.kind]}{fetched.repository}, revision {fetched.revision}",
            f"- licence: {entry.licence}",
            *(f"- {remark}" for remark in fetched.remarks),
        ]
        if not fetched.verified:
            lines.append("- put there by hand: not compared with the hub's checksums")
    return "\n".join(lines) + "\n"
