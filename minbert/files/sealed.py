"""Checksums inside what is written, so that bytes that changed later are found and never used.

A JSON line carries the CRC-32 of its own text; a folder carries a list of its files' SHA-256, itself such a
line; a YAML file begins with a comment that holds the SHA-256 of what follows. Text without a seal, such as a line that
another program added or a file that the user wrote, is read as it stands.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from minbert.files.storage import is_of_storage

CHECKSUMS = "checksums.json"
_MARK = b', "crc": "'
_NAME = b"sha256 of the rest"


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
    try:
        record = json.loads(line)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(record, dict):
        raise ValueError("not a mapping")
    record.pop("crc", None)
    return record


def is_sealed(line: bytes) -> bool:
    """Whether a line says that it carries a checksum."""
    return _MARK in line


def sealed_text(text: str) -> str:
    """A text below a line, a comment in YAML, with its checksum."""
    return f"{_first_line(text.encode()).decode()}\n{text}"


def is_unchanged(content: bytes) -> bool:
    """Whether a file's content is all that :func:`sealed_text` made, or nothing that it did."""
    line, end, rest = content.partition(b"\n")
    cut_within = bool(line) and not end and _first_line(b"").startswith(line[: len(_NAME)])
    return line == _first_line(rest) or not (_NAME in line or cut_within)


def seal_folder(folder: Path, of: str = "") -> None:
    """Write the list of a folder's files and their checksums into it.

    Args:
        folder: what is sealed.
        of: names what the files belong to, so that those of something else are not taken for them.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CHECKSUMS)
    sums = {path.relative_to(folder).as_posix(): checksum(path) for path in files}
    (folder / CHECKSUMS).write_bytes(sealed_line({"files": sums, **({"of": of} if of else {})}))


def is_intact(folder: Path, of: str | None = None) -> bool:
    """Whether all files of a sealed folder are there and as they were; not so where there is no seal."""
    return damage(folder, of=of) is None


def damage(folder: Path, name: str | None = None, of: str | None = None) -> str | None:
    """What is wrong with a sealed folder, or with one file of it; None where nothing is.

    Args:
        folder: a folder that :func:`seal_folder` sealed.
        name: a file's path inside it, to look at that file alone.
        of: what the files have to belong to; None: whatever it is.

    Raises:
        OSError: storage fails, which says nothing about the folder.
    """
    if _is_no_file(folder / CHECKSUMS):
        return f"{CHECKSUMS} is no file"
    try:
        seal = unsealed_line((folder / CHECKSUMS).read_bytes())
        if of is not None and seal.get("of") != of:
            return "its files belong to another run"
        files = seal["files"]
        if not files:
            return "its seal names no file"
        return _damaged_file(folder, files, files if name is None else [name])
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError) as error:
        if is_of_storage(error):
            raise
        return f"its checksums cannot be read ({type(error).__name__})"


def owner(folder: Path) -> str | None:
    """What a sealed folder says that it belongs to; None where it says nothing."""
    try:
        found = unsealed_line((folder / CHECKSUMS).read_bytes()).get("of")
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, str) else None


def checksum(path: Path) -> str:
    """SHA-256 of a file as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _damaged_file(folder: Path, sums: dict[str, str], names: Iterable[str]) -> str | None:
    for name in names:
        if _is_no_file(folder / name):
            return f"{name} is no file"
        if checksum(folder / name) != sums[name]:
            return f"{name} is not what was written (its checksum differs)"
    return None


def _is_no_file(path: Path) -> bool:
    """Whether something else lies there, such as a pipe, whose reader would wait for ever."""
    return path.exists() and not path.is_file()


def _first_line(text: bytes) -> bytes:
    return b"# %s: %s; remove this line if you change the file" % (
        _NAME,
        hashlib.sha256(text).hexdigest().encode(),
    )


def _crc(text: bytes) -> bytes:
    return f"{zlib.crc32(text):08x}".encode()
