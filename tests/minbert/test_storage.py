"""What speaks against storage, and what against a file of a user's."""

from __future__ import annotations

import errno
import os

import pytest

from minbert.command_line import EXIT_USER, run
from minbert.files.storage import forbidden, is_of_storage


@pytest.mark.parametrize(
    "number",
    [
        errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO,
        errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN,
    ],
)  # fmt: skip
def test_storage_that_is_full_or_out_of_reach_has_failed(number: int) -> None:
    assert is_of_storage(OSError(number, os.strerror(number)))


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.EISDIR, errno.ENOTEMPTY])
def test_a_file_that_is_missing_or_forbidden_is_no_failure_of_storage(number: int) -> None:
    assert not is_of_storage(OSError(number, os.strerror(number)))
    assert not is_of_storage(ValueError(number))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_what_may_not_be_written_or_read_is_one_line_wherever_a_command_meets_it(
    number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> int:
        try:
            raise OSError(number, os.strerror(number), "study/trials")
        except OSError as error:
            raise RuntimeError("in some library") from error

    assert run(command) == EXIT_USER
    assert capsys.readouterr().err == f"error: study/trials: {os.strerror(number)}\n"


def test_a_process_that_may_not_be_reached_is_no_refusal_of_a_file() -> None:
    error = PermissionError(errno.EPERM, os.strerror(errno.EPERM))
    assert forbidden(error) is None
    assert forbidden(ValueError("Permission denied")) is None
