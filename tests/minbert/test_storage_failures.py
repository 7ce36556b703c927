"""Failures of storage are known whoever tells of them, and how."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from safetensors import SafetensorError

from minbert.command_line import EXIT_FAILED, MEMORY_ADVICE, run
from minbert.corpora.tables import read_utf8
from minbert.errors import TrainingFailure
from minbert.files.durable import publish_folder, read_json_lines
from minbert.files.journalled import records
from minbert.files.sealed import damage, seal_folder
from minbert.files.storage import failure, is_of_storage, told
from tests.no_room import no_room

STORAGE = (
    "ENOSPC",
    "EDQUOT",
    "EFBIG",
    "EROFS",
    "EIO",
    "EREMOTEIO",
    "ESTALE",
    "EKEYEXPIRED",
    "EMFILE",
    "ENFILE",
)
OTHERS_SAY_IT_TOO = (
    "ENXIO", "ENODEV", "ENOTCONN", "ETIMEDOUT", "EHOSTDOWN", "EHOSTUNREACH", "ENETUNREACH", "ECONNRESET",
    "ECONNABORTED",
)  # fmt: skip
NO_FAILURE = (
    "ENOENT", "EACCES", "EPERM", "EISDIR", "ENOTDIR", "EEXIST", "EINVAL", "ENAMETOOLONG", "ELOOP", "EPIPE",
    "ECONNREFUSED", "EADDRINUSE",
)  # fmt: skip


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


@pytest.mark.parametrize("name", OTHERS_SAY_IT_TOO)
def test_what_others_say_too_is_of_storage_by_its_number_alone(name: str) -> None:
    number = getattr(errno, name)
    assert is_of_storage(OSError(number, os.strerror(number)))
    assert failure(as_a_cause(number)) is not None and failure(as_safetensors(number)) is not None
    assert failure(as_arrow(number)) is None


@pytest.mark.parametrize("name", NO_FAILURE)
def test_other_numbers_are_of_a_file_or_a_user(name: str) -> None:
    number = getattr(errno, name)
    assert not is_of_storage(OSError(number, os.strerror(number))) and failure(as_safetensors(number)) is None


def test_a_file_that_cannot_be_opened_for_too_many_open_ones_is_not_taken_for_damaged(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "state").write_text("whole")
    seal_folder(folder)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        with ExitStack() as opened:
            with suppress(OSError):
                while True:
                    opened.enter_context(Path(os.devnull).open())
            with pytest.raises(OSError, match="Too many open files") as raised:
                damage(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert is_of_storage(raised.value) and damage(folder) is None


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


def test_a_failure_that_names_no_file_names_the_full_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usage = type(shutil.disk_usage(tmp_path))
    sizes = {tmp_path: usage(2**30, 2**30, 0), Path("/dev/shm"): usage(0, 0, 0)}
    monkeypatch.setattr(shutil, "disk_usage", lambda place: sizes.get(Path(place), usage(2**30, 0, 2**30)))
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert (
        told(OSError(errno.ENOSPC, "No space left on device"))
        == f"No space left on device (full: {tmp_path})"
    )
    assert told(OSError(errno.ETIMEDOUT, "Connection timed out")) == "Connection timed out"
    assert told(OSError(errno.ENOSPC, "No space left on device", "x")) == "x: No space left on device"


def test_of_two_files_the_one_that_was_to_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "from").write_bytes(bytes(100))
    (tmp_path / "to").touch()
    with no_room(tmp_path / "to"), pytest.raises(OSError, match="File too large") as failed:
        shutil.copyfile(tmp_path / "from", tmp_path / "to")
    assert told(failed.value) == f"{tmp_path / 'to'}: File too large"


def test_an_array_that_could_not_be_written_whole_is_a_failure_of_storage(tmp_path: Path) -> None:
    (tmp_path / "array.npy").touch()
    with no_room(tmp_path / "array.npy", 1000), pytest.raises(OSError, match="requested and") as failed:
        np.save(tmp_path / "array.npy", np.zeros(10_000))
    found = failure(failed.value)
    assert found is not None and found.errno == errno.ENOSPC


def test_a_folder_that_could_not_be_copied_names_the_file_that_was_to_be_written(tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "large").write_bytes(bytes(1000))
    (tmp_path / "small").write_bytes(b"")
    with no_room(tmp_path / "small", 10), pytest.raises(shutil.Error) as caught:
        shutil.copytree(tmp_path / "from", tmp_path / "to")
    found = failure(caught.value)
    assert found is not None
    assert told(found) == f"{tmp_path / 'to' / 'large'}: File too large"


@pytest.mark.parametrize("tell", [as_safetensors, as_arrow, as_a_cause])
def test_a_folder_that_could_not_be_published_is_named_where_no_file_is(
    tmp_path: Path, tell: Callable[[int], Exception]
) -> None:
    with pytest.raises(OSError, match="No space") as caught, publish_folder(tmp_path / "checkpoint"):
        raise tell(errno.ENOSPC)
    assert told(caught.value) == f"{tmp_path / 'checkpoint'}: No space left on device"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "read",
    [read_utf8, read_json_lines, lambda path: list(records(path))],
    ids=["table", "history", "journal"],
)
def test_a_file_beyond_the_memory_ends_a_command_in_one_line_with_its_name(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    read: Callable[[Path], object],
) -> None:
    def too_large(path: Path) -> bytes:
        raise MemoryError

    (tmp_path / "large").write_text("text\n")
    monkeypatch.setattr(Path, "read_bytes", too_large)
    assert run(lambda: bool(read(tmp_path / "large"))) == EXIT_FAILED
    said = capsys.readouterr().err
    assert said == f"error: out of memory: {tmp_path}/large has 5 bytes; {MEMORY_ADVICE}\n"


def test_memory_that_runs_out_elsewhere_ends_a_command_in_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full() -> int:
        raise MemoryError

    assert run(full) == EXIT_FAILED
    assert capsys.readouterr().err == f"error: out of memory; {MEMORY_ADVICE}\n"
