"""What speaks against storage, and what against a file of a user's."""

from __future__ import annotations

import errno
import os

import pytest

from minbert.storage import is_of_storage


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
