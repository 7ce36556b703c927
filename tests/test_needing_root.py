"""What a test does whose needs a machine does not meet."""

from __future__ import annotations

import pytest

from tests.needing_root import MUST_RUN, cannot_run


def test_a_test_that_needs_root_is_skipped_but_fails_where_it_must_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(MUST_RUN, raising=False)
    with pytest.raises(pytest.skip.Exception, match="no disk"):
        cannot_run("no disk")
    monkeypatch.setenv(MUST_RUN, "1")
    with pytest.raises(pytest.fail.Exception, match=f"no disk, and {MUST_RUN} is set"):
        cannot_run("no disk")
