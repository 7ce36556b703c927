"""Checksums inside what is written, so that bytes that changed later are found and never used.

A JSON line carries the CRC-32 of its own text; a folder carries a list of its files' SHA-256, itself such a
line. Text without a seal, such as a line that another program added, is read as it stands.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

from minbert.storage import is_of_storage

CHECKSUMS = "checksums.json"
_MARK = b', "crc": "'


def sealed_line(record: dict[str, Any]) -> bytes:
    """A record as one line of JSON, without its end, that ends with its own checksum under the key ``crc``."""
    if not record:
        raise ValueError("an empty record has nothing to seal")
    text = json.dumps({key: value for key, value in record.items() if key != "crc"}).encode()
    return text[:-1] + _MARK + _crc(text) + b'"}'


def unsealed_line(line: bytes) -> dict[str, Any]:
    """The record of a line.

    Raises:
        ValueError: the line is no JSON mapping, or not the text that was sealed.
    """
    text, mark, seal = line.rpartition(_MARK)
    if mark and seal != _crc(text + b"}") + b'"}':
        raise ValueError("the checksum does not fit")
    record = json.loads(line)
    if not isinstance(record, dict):
        raise ValueError("not a mapping")
    record.pop("crc", None)
    return record


def seal_folder(folder: Path) -> None:
    """Write the list of a folder's files and their checksums into it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CHECKSUMS)
    sums = {path.relative_to(folder).as_posix(): checksum(path) for path in files}
    (folder / CHECKSUMS).write_bytes(sealed_line({"files": sums}))


def is_intact(folder: Path) -> bool:
    """Whether all files of a sealed folder are there and as they were; not so where there is no seal."""
    return damage(folder) is None


def damage(folder: Path, name: str | None = None) -> str | None:
    """What is wrong with a sealed folder, or with one file of it; None where nothing is.

    Args:
        folder: a folder that :func:`seal_folder` sealed.
        name: a file's path inside it, to look at that file alone.

    Raises:
        OSError: storage fails, which says nothing about the folder.
    """
    try:
        files = unsealed_line((folder / CHECKSUMS).read_bytes())["files"]
        for file in files if name is None else [name]:
            if checksum(folder / file) != files[file]:
                return f"{file} is not what was written (its checksum differs)"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError) as error:
        if is_of_storage(error):
            raise
        return f"its checksums cannot be read ({type(error).__name__})"
    return None


def checksum(path: Path) -> str:
    """SHA-256 of a file as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _crc(text: bytes) -> bytes:
    return f"{zlib.crc32(text):08x}".encode()
