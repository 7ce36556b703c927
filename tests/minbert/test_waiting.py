"""What a user sees of something that takes longer than a moment."""

from __future__ import annotations

import io
import sys

import pytest

from minbert import waiting
from minbert.waiting import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_a_bar_that_is_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(waiting, "_MOMENT", 0.0)
    with progress_bar(4, "sentences") as progress:
        progress(2)
    shown = terminal.getvalue()
    assert "0/4" in shown and shown.endswith("\r") and "\n" not in shown


def test_elsewhere_there_are_plain_lines_now_and_then_and_none_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(waiting, "_BETWEEN_LINES", 0.0)
    with progress_bar(4000, "sentences") as progress:
        for _ in range(4):
            progress(1000)
    assert capsys.readouterr().err.splitlines() == [f"{done},000 of 4,000 sentences" for done in (1, 2, 3)]
    monkeypatch.setattr(waiting, "_BETWEEN_LINES", 100.0)
    with progress_bar(2, "sentences") as progress:
        progress(1)
    assert capsys.readouterr().err == ""
