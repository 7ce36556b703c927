"""How Ray is started."""

from __future__ import annotations

import pytest

from minbert.errors import UserError
from trainables.connection import start_ray


def test_a_scratch_folder_that_ray_cannot_use_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", "/proc")
    with pytest.raises(UserError, match=r"RAY_TMPDIR /proc: Ray cannot write there: .*; set RAY_TMPDIR to "):
        start_ray(None)
