"""Failures of storage are known whoever tells of them, and how."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from safetensors import SafetensorError

from minbert.command_line import EXIT_FAILED, run
from minbert.errors import TrainingFailure
from minbert.files.storage import failure

STORAGE = ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EIO", "ESTALE")


def as_safetensors(number: int) -> Exception:
    return SafetensorError(f"Error while serializing: I/O error: {os.strerror(number)} (os error {number})")


def as_arrow(number: int) -> Exception:
    return pa.ArrowException(f"Error writing bytes to file. Detail: {os.strerror(number)}")


def as_a_cause(number: int) -> Exception:
    try:
        try:
            raise OSError(number, os.strerror(number))
        except OSError as error:
            raise RuntimeError("not written") from error
    except RuntimeError as error:
        return error


@pytest.mark.parametrize("told", [as_safetensors, as_arrow, as_a_cause])
@pytest.mark.parametrize("name", STORAGE)
def test_a_failure_of_storage_is_known_by_number_words_and_cause(
    name: str, told: Callable[[int], Exception]
) -> None:
    number = getattr(errno, name)
    found = failure(told(number))
    assert found is not None and (found.errno, found.strerror) == (number, os.strerror(number))


@pytest.mark.parametrize(
    "other",
    [
        SafetensorError("Error while deserializing header: invalid header"),
        SafetensorError("No such file or directory (os error 2)"),
        FileNotFoundError(errno.ENOENT, "No such file or directory"),
        PermissionError(errno.EACCES, "Input/output error"),
        TrainingFailure("nan", "step 28 is not finite"),
    ],
)
def test_other_failures_are_not_of_storage(other: Exception) -> None:
    assert failure(other) is None


def test_a_command_ends_in_one_line_on_a_failure_of_storage_that_a_library_tells_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full() -> int:
        raise as_safetensors(errno.EDQUOT)

    assert run(full) == EXIT_FAILED
    said = capsys.readouterr().err
    assert said.startswith("error: Disk quota exceeded; what was finished is kept") and said.count("\n") == 1


def test_output_that_cannot_be_written_is_a_failure_of_storage_and_is_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")

    def talks() -> int:
        print("a result")
        return 0

    with full.open("w") as output, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", output)
        assert run(talks) == EXIT_FAILED
        output.flush()  # as Python does when it ends
    said = capsys.readouterr().err
    assert said.startswith("error: No space left on device; ") and said.count("\n") == 1
