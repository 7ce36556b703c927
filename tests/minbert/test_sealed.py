"""Checksums in lines and folders: every changed byte is found, whatever it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from minbert.files.sealed import CHECKSUMS, damage, is_intact, seal_folder, sealed_line, unsealed_line

RECORD = {"epoch": 3, "score": 0.71, "text": 'a ", "crc": "00000000"} b'}


def test_a_line_is_json_that_comes_back_as_it_was() -> None:
    line = sealed_line(RECORD)
    assert unsealed_line(line) == RECORD
    assert {key: value for key, value in json.loads(line).items() if key != "crc"} == RECORD


def test_no_flipped_bit_of_a_line_changes_what_is_read() -> None:
    line = sealed_line(RECORD)
    for at in range(len(line)):
        for bit in range(8):
            spoilt = bytearray(line)
            spoilt[at] ^= 1 << bit
            try:
                found = unsealed_line(bytes(spoilt))
            except ValueError:
                continue
            assert {key: found.get(key) for key in RECORD} == RECORD  # only the seal's own name was hit


def test_a_line_without_a_seal_is_read_as_it_stands() -> None:
    assert unsealed_line(b'{"op_code": 4}') == {"op_code": 4}


@pytest.mark.parametrize(
    "line", [b"", b"[1]", b"nonsense", b'{"a": 1', b"[" * 100_000, sealed_line(RECORD)[:-2]]
)
def test_what_is_no_record_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError):
        unsealed_line(line)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "weights").write_bytes(bytes(range(256)))
    (tmp_path / "facts.json").write_text("{}")
    seal_folder(tmp_path)
    return tmp_path


def flip(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("name", ["inner/weights", "facts.json", CHECKSUMS])
@pytest.mark.parametrize("harm", [flip, cut, Path.unlink])
def test_harm_to_any_file_of_a_folder_is_found(folder: Path, name: str, harm: Callable[[Path], None]) -> None:
    assert is_intact(folder)
    harm(folder / name)
    assert not is_intact(folder)
    assert name.rpartition("/")[2].partition(".")[0] in str(damage(folder))


def test_one_file_can_be_looked_at_alone(folder: Path) -> None:
    flip(folder / "facts.json")
    assert damage(folder, "inner/weights") is None
    assert "facts.json" in str(damage(folder, "facts.json"))
    assert "is missing" in str(damage(folder, "a file that was never there"))


def test_storage_that_fails_is_not_taken_for_damage(tmp_path: Path) -> None:
    """Whoever finds damage throws the folder away."""
    (tmp_path / "weights").write_bytes(b"12")
    seal_folder(tmp_path)
    (tmp_path / "weights").unlink()
    (tmp_path / "weights").symlink_to("/proc/self/mem")  # whose first page gives an input/output error
    with pytest.raises(OSError, match="Input/output error"):
        is_intact(tmp_path)


def test_a_folder_knows_what_it_belongs_to(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"12")
    seal_folder(tmp_path, "this")
    assert is_intact(tmp_path) and is_intact(tmp_path, "this")
    assert damage(tmp_path, of="that") == "its files belong to another run"


def test_a_seal_that_names_no_file_says_nothing(tmp_path: Path) -> None:
    seal_folder(tmp_path)
    assert not is_intact(tmp_path)
