"""The command line in this process, for mistakes that are found before Ray is started."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import ray

from minbert import command_line
from tests.trainables.commands import CommandLine
from trainables import search


@pytest.fixture
def search_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> CommandLine:
    """Run the command line in this process, in an empty folder; returns exit code and stderr."""

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["search", *arguments])
        monkeypatch.chdir(tmp_path)
        for name in ("MINBERT_DATA", "MINBERT_RESULTS", "MINBERT_GPUS_PER_TRIAL", "RAY_ADDRESS"):
            monkeypatch.delenv(name, raising=False)
        code = command_line.run(search.main)
        assert not ray.is_initialized()
        return code, capsys.readouterr().err

    return call
