"""Tests of disks, links and networks that only root can break: skipped elsewhere, but not where they must run."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

MUST_RUN = "MINBERT_TESTS_AS_ROOT"
"""Environment variable that ``.ci/run`` sets where root may mount, and make namespaces: a skip would be a hole."""


def cannot_run(reason: str) -> NoReturn:
    """Skip a test, or fail it where it must run."""
    if os.environ.get(MUST_RUN):
        pytest.fail(f"{reason}, and {MUST_RUN} is set")
    pytest.skip(reason)
